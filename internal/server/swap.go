package server

import (
	"fmt"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// A Swap is a swap file. Size is in bytes, whole pages.
type Swap struct {
	File string
	Size int64
}

// FindSwap is the swap file of that name as the kernel uses it, nil where it
// doesn't, or where it would not after a reboot.
func FindSwap(f fleet.Facts, file string) *Swap {
	for _, s := range f.Swaps {
		if s.File == file && s.AtBoot {
			return &Swap{File: s.File, Size: s.Size}
		}
	}
	return nil
}

// diskReserve is what has to be left on the disk, in bytes.
const diskReserve = 512 << 20

// changeSwap makes the swap file as wanted, and removes the one that is no longer.
func (p *Plan) changeSwap(want Spec, is *fleet.Snapshot) {
	if s := want.Swap; s != nil {
		if have := FindSwap(is.Facts, s.File); have == nil || *have != *s {
			p.add("make the swap file "+s.File, makeSwap(*s))
		}
	}
	if old := want.NoSwap; old != "" && (want.Swap == nil || want.Swap.File != old) {
		for _, s := range is.Facts.Swaps {
			if s.File == old {
				p.add("remove the swap file "+old, removeSwap(old))
			}
		}
	}
}

// swapShell is what both scripts need. Lines of /etc/fstab that name another file stay as they are.
const swapShell = `
in_use() { while read -r file _; do [ "$file" != "$f" ] || return 0; done < /proc/swaps; return 1; }
forget() {
  [ -e /etc/fstab ] || return 0
  cp -p /etc/fstab /etc/fstab.new-kamal && awk -v f="$f" '!($1 == f && $3 == "swap")' /etc/fstab > /etc/fstab.new-kamal && mv -f /etc/fstab.new-kamal /etc/fstab
}
`

// makeSwap makes the file beside its place and moves it there when it is
// complete. What is in the way and is no swap file stays, and ends the step.
// A file of holes can't be swapped to: fallocate makes none on ext4 and XFS,
// dd on none.
func makeSwap(s Swap) string {
	return fmt.Sprintf(`f=%s bytes=%d%s
if [ -e "$f" ] && ! in_use; then
  [ "$(blkid -p -s TYPE -o value "$f" 2>/dev/null)" = swap ] || { echo "$f is there, and is no swap file" >&2; exit 1; }
fi
if in_use; then swapoff "$f" || exit; fi
umask 077
n=$f.new-kamal; rm -f "$n"
fail() { echo "$1" >&2; rm -f "$n"; exit 1; }
: > "$n" || exit
chattr +C "$n" 2>/dev/null
fallocate -l "$bytes" "$n" 2>/dev/null || dd if=/dev/zero of="$n" bs=1M count=$((bytes / 1048576)) conv=fsync 2>/dev/null || fail "there is no room for $bytes bytes at $f"
mkswap "$n" >/dev/null && mv -f "$n" "$f" || fail "$f could not be made"
if ! e=$(swapon "$f" 2>&1); then
  # Some file systems refuse what fallocate made.
  dd if=/dev/zero of="$n" bs=1M count=$((bytes / 1048576)) conv=fsync 2>/dev/null && mkswap "$n" >/dev/null && mv -f "$n" "$f" && swapon "$f" || { rm -f "$f"; fail "$e"; }
fi
forget && printf '%%s none swap sw 0 0\n' "$f" >> /etc/fstab`, sshexec.Quote(s.File), s.Size, swapShell)
}

func removeSwap(file string) string {
	return fmt.Sprintf(`f=%s%s
forget || exit
if in_use; then swapoff "$f" || { echo "what is swapped out does not fit into memory" >&2; exit 1; }; fi
rm -f "$f"`, sshexec.Quote(file), swapShell)
}

// checkSwap finds what is in the way of a swap file.
func checkSwap(want Spec, is *fleet.Snapshot) error {
	s := want.Swap
	if s == nil {
		return nil
	}
	if have := FindSwap(is.Facts, s.File); have != nil && *have == *s {
		return nil
	}
	for _, other := range is.Facts.Swaps {
		if other.File == s.File && strings.HasPrefix(s.File, "/dev/") {
			return &PreflightError{Why: s.File + " is a partition.", Next: "name a file that is not there yet."}
		}
	}
	if is.Facts.DiskFree < s.Size+diskReserve && strings.Count(s.File, "/") == 1 {
		return &PreflightError{
			Why:  fmt.Sprintf("the disk has %s free: too little for a swap file of %s.", size(is.Facts.DiskFree), size(s.Size)),
			Next: "take a smaller one, or free some space.",
		}
	}
	return nil
}

// size is a number of bytes for people.
func size(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }
