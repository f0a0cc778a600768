// Command demo shows the provider at work as a user sees it: it starts two
// servers on this machine, one of them without Docker, applies examples/demo,
// and then deploys under load, counting every request.
//
//	demo up     run the demo; the servers stay, to look at
//	demo down   remove all of it
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// bedName keeps the demo's servers apart from those of tests.
const bedName = "demo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	switch {
	case len(os.Args) == 2 && os.Args[1] == "up":
		err = up(ctx)
	case len(os.Args) == 2 && os.Args[1] == "down":
		err = down(ctx)
	default:
		err = errors.New("usage: demo up|down")
	}
	if err != nil {
		if !errors.Is(err, errTold) {
			fmt.Fprintln(os.Stderr, "demo:", err)
		}
		os.Exit(1)
	}
}

// errTold is a failure that was reported before the demo's last line.
var errTold = errors.New("the demo failed")

// workDir is where the demo's configuration, state and provider are.
func workDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(cache, "terraform-provider-kamal", "demo"), nil
}

func down(ctx context.Context) error {
	dir, err := workDir()
	if err != nil {
		return err
	}
	return errors.Join(testbed.Down(ctx, testbed.Options{Name: bedName}), os.RemoveAll(dir))
}

func up(ctx context.Context) error {
	say("Two fresh servers, one with Docker, one without")
	// Nothing of an earlier demo may help this one.
	if err := down(ctx); err != nil {
		return err
	}
	bed, err := testbed.Up(ctx, testbed.Options{Name: bedName, Logf: note})
	if err != nil {
		return err
	}
	servers := []*testbed.Server{bed.Shared("web-1"), bed.Shared("bare")}
	for _, s := range servers {
		about, err := s.Run(ctx, `. /etc/os-release; echo "$PRETTY_NAME, $(docker --version 2>/dev/null || echo 'no Docker')"`)
		if err != nil {
			return err
		}
		note("%s: %s", s.Address, about)
	}

	cli, err := findCLI(ctx)
	if err != nil {
		return err
	}
	say("The provider, from a local mirror, for %s", cli.title)
	dir, err := workDir()
	if err != nil {
		return err
	}
	c, err := install(ctx, cli, dir)
	if err != nil {
		return err
	}
	if err := c.configure(bed, servers); err != nil {
		return err
	}
	d := &demo{console: c, servers: servers}
	err = d.run(ctx)
	d.printTable()
	if err != nil {
		fmt.Printf("The demo failed: %v\n", err)
		err = errTold
	} else {
		fmt.Printf("The servers stay, to go on by hand; make demo-down removes them:\n  . %s; cd %s\n  %s plan -var release=v1 -var '%s'\n",
			c.envFile(), c.dir, c.cli.path, hosts)
	}
	fmt.Printf("demo: deploys=%d requests=%d failed=%d\n", d.deploys, d.requests(), d.failed())
	return err
}

// say heads a part of the demo, note tells of a detail.
func say(format string, args ...any)  { fmt.Printf("\n== "+format+"\n", args...) }
func note(format string, args ...any) { fmt.Printf("   "+format+"\n", args...) }
