# Goes before server.sh where PACKAGE/sid is wanted: packages of Debian's unstable
# branch can be had by that name, and come by it alone, with what they need. Some
# mirrors lag behind, and then its lists are past their date.
sed 's,^deb \(.*\) [a-z]* main,deb [check-valid-until=no] \1 sid main,' /etc/apt/sources.list >/etc/apt/sources.list.d/sid.list
printf 'Package: *\nPin: release n=sid\nPin-Priority: 100\n' >/etc/apt/preferences.d/sid
