
# Goes after server.sh where Docker's programs and units were copied in: the rest of
# what docker.com's packages do.
groupadd --system docker
ln -s tini-static /usr/bin/docker-init
systemctl enable containerd.service docker.service docker.socket
