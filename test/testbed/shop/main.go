// Command shop is a small app with a database and a queue, as a Rails app has
// them: a web server, a worker and migrations, all of one image. Its version,
// SHOP_VERSION, decides which schema it brings along and needs.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const usage = `usage: shop COMMAND

  server         answer requests on PORT (default 3000)
  worker         process orders
  migrate        bring the database to this version's schema; MIGRATE_SLEEP=SECONDS makes it slow
  query SQL      print rows, tab separated
  healthcheck    ask this container's server for /up

Settings: DATABASE_URL and REDIS_URL, or the names of files that hold them in
DATABASE_URL_FILE and REDIS_URL_FILE.
`

var errUsage = errors.New("no such command")

// exitOldSchema says that the database lacks migrations of this version.
const exitOldSchema = 4

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	err := run(ctx, os.Args[1:])
	var old *oldSchemaError
	switch {
	case errors.As(err, &old):
		fmt.Fprintln(os.Stderr, "shop: FATAL:", err)
		os.Exit(exitOldSchema)
	case errors.Is(err, errUsage):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	switch command, args := args[0], args[1:]; {
	case command == "server" && len(args) == 0:
		return serve(ctx)
	case command == "worker" && len(args) == 0:
		return work(ctx)
	case command == "migrate" && len(args) == 0:
		return migrate(ctx)
	case command == "query" && len(args) == 1:
		return query(ctx, args[0])
	case command == "healthcheck" && len(args) == 0:
		return healthcheck(ctx)
	}
	return errUsage
}

func version() string { return os.Getenv("SHOP_VERSION") }

func port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "3000"
}

// setting is the content of the file that NAME_FILE names, else NAME's value.
func setting(name string) (string, error) {
	if path := os.Getenv(name + "_FILE"); path != "" {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("%s_FILE: %w", name, err)
		}
		return strings.TrimRight(string(content), "\r\n"), nil
	}
	if value := os.Getenv(name); value != "" {
		return value, nil
	}
	return "", fmt.Errorf("neither %s nor %s_FILE is set", name, name)
}

// query prints what PostgreSQL itself would: the text form of every value.
func query(ctx context.Context, sql string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	config, err := databaseConfig()
	if err != nil {
		return err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	connection, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer connection.Close(context.WithoutCancel(ctx))
	rows, err := connection.Query(ctx, sql)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var fields []string
		for _, value := range rows.RawValues() {
			fields = append(fields, string(value))
		}
		fmt.Println(strings.Join(fields, "\t"))
	}
	return rows.Err()
}

func healthcheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+port()+"/up", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		return fmt.Errorf("/up: %s: %s", response.Status, strings.TrimSpace(string(body)))
	}
	return nil
}

// pause waits, and says whether the wait was not cut short.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
