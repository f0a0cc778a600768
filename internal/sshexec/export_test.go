package sshexec

import "time"

// SetKeepAlive makes a silent link be noticed sooner than in real life.
func (p *Pool) SetKeepAlive(every, wait time.Duration) {
	p.keepAliveEvery, p.keepAliveWait = every, wait
}
