// Command testbed brings servers up to try things on; see package testbed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

const usage = `usage: testbed [-name NAME] COMMAND

  up                 start the standing servers and the registry
  status [-json]     say what runs and how to reach it
  server NAME KIND   start one more server; KIND is one of
                     KINDS
  rm NAME            remove a server
  down [-all]        remove everything but the cached images; -all: those too

The name of the bed is taken from -name, then from the environment's TESTBED,
then "kamal". Beds of different names don't see each other.
`

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, strings.Replace(usage, "KINDS", strings.Trim(fmt.Sprint(testbed.Kinds()), "[]"), 1))
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testbed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	options := testbed.Options{Logf: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "testbed: "+format+"\n", args...)
	}}
	flags := flag.NewFlagSet("testbed", flag.ContinueOnError)
	flags.Usage = func() {}
	flags.StringVar(&options.Name, "name", "", "")
	if err := flags.Parse(args); err != nil || flags.NArg() == 0 {
		return errUsage
	}
	command, args := flags.Arg(0), flags.Args()[1:]
	sub := flag.NewFlagSet(command, flag.ContinueOnError)
	sub.Usage = func() {}
	asJSON := sub.Bool("json", false, "")
	all := sub.Bool("all", false, "")
	if err := sub.Parse(args); err != nil {
		return errUsage
	}

	switch {
	case command == "up" && sub.NArg() == 0:
		b, err := testbed.Up(ctx, options)
		if err != nil {
			return err
		}
		return status(ctx, b, *asJSON)
	case command == "status" && sub.NArg() == 0:
		b, err := testbed.Find(ctx, options)
		if err != nil {
			return err
		}
		return status(ctx, b, *asJSON)
	case command == "server" && sub.NArg() == 2:
		b, err := testbed.Find(ctx, options)
		if err != nil {
			return err
		}
		if _, err := b.Start(ctx, sub.Arg(0), testbed.Kind(sub.Arg(1))); err != nil {
			return err
		}
		return status(ctx, b, *asJSON)
	case command == "rm" && sub.NArg() == 1:
		b, err := testbed.Find(ctx, options)
		if err != nil {
			return err
		}
		return b.Remove(ctx, sub.Arg(0))
	case command == "down" && sub.NArg() == 0:
		if err := testbed.Down(ctx, options); err != nil || !*all {
			return err
		}
		return testbed.RemoveImages(ctx)
	}
	return errUsage
}

func status(ctx context.Context, b *testbed.Bed, asJSON bool) error {
	s, err := b.Status(ctx)
	if err != nil {
		return err
	}
	if !asJSON {
		s.Print(os.Stdout)
		return nil
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(s)
}
