package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// migration is one step of the schema, applied in a transaction of its own.
type migration struct{ what, sql string }

var (
	createTables = migration{"create orders and boots", `
		CREATE TABLE orders (
			id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
			note         text NOT NULL DEFAULT '',
			created      timestamptz NOT NULL DEFAULT now(),
			processed_by text
		);
		CREATE TABLE boots (
			role           text NOT NULL,
			version        text NOT NULL,
			schema_version int NOT NULL,
			at             timestamptz NOT NULL DEFAULT now()
		)`}
	// The version before goes on working with it, as a roll-out without downtime wants.
	addNote2 = migration{"add orders.note2", `ALTER TABLE orders ADD COLUMN note2 text`}
	// Fails in its second statement: the first must not stay.
	addTotal = migration{"add orders.total", `
		ALTER TABLE orders ADD COLUMN total numeric;
		UPDATE orders SET total = price * quantity`}
)

// migrations are those of this version; the last one's number is the schema it needs.
func migrations() ([]migration, error) {
	switch version() {
	case "v1":
		return []migration{createTables}, nil
	case "v2":
		return []migration{createTables, addNote2}, nil
	case "v3bad":
		return []migration{createTables, addNote2, addTotal}, nil
	}
	return nil, fmt.Errorf("SHOP_VERSION is %q, want v1, v2 or v3bad", version())
}

const (
	migrationLock = 4711 // any number that nobody else of this database takes
	databaseWait  = 30 * time.Second
)

// migrate applies what is missing. Several at a time wait for each other.
func migrate(ctx context.Context) error {
	all, err := migrations()
	if err != nil {
		return err
	}
	connection, err := connectPatiently(ctx)
	if err != nil {
		return err
	}
	defer connection.Close(context.WithoutCancel(ctx)) // which gives the lock back
	if _, err := connection.Exec(ctx, "SELECT pg_advisory_lock($1)", migrationLock); err != nil {
		return fmt.Errorf("lock for migrations: %w", err)
	}
	_, err = connection.Exec(ctx, `SET client_min_messages = warning;
		CREATE TABLE IF NOT EXISTS schema_version (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())`)
	if err != nil {
		return fmt.Errorf("table schema_version: %w", err)
	}
	have, err := schemaVersion(ctx, connection)
	if err != nil {
		return err
	}
	log.Printf("migrate %s: the schema is at %d", version(), have)
	if seconds, _ := strconv.ParseFloat(os.Getenv("MIGRATE_SLEEP"), 64); seconds > 0 {
		log.Printf("migrate %s: sleeping %g s", version(), seconds)
		if !pause(ctx, time.Duration(seconds*float64(time.Second))) {
			return errors.New("migrate: stopped before the first migration")
		}
	}
	for i := have; i < len(all); i++ {
		log.Printf("migrate %s: %d %s", version(), i+1, all[i].what)
		if err := apply(ctx, connection, i+1, all[i].sql); err != nil {
			return fmt.Errorf("migration %d (%s) failed and was rolled back: %w", i+1, all[i].what, err)
		}
	}
	log.Printf("migrate %s: done, the schema is at %d", version(), max(have, len(all)))
	return nil
}

func apply(ctx context.Context, connection *pgx.Conn, number int, sql string) error {
	return pgx.BeginFunc(ctx, connection, func(tx pgx.Tx) error {
		for statement := range strings.SplitSeq(sql, ";") {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "INSERT INTO schema_version (version) VALUES ($1)", number)
		return err
	})
}

// connectPatiently waits for a server that is starting, but not for one that
// refuses the log-in.
func connectPatiently(ctx context.Context) (*pgx.Conn, error) {
	config, err := databaseConfig()
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(databaseWait)
	for {
		connection, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return connection, nil
		}
		var refused *pgconn.PgError
		starting := !errors.As(err, &refused) || refused.Code == "57P03" // the database system is starting up
		if !starting || time.Now().After(deadline) || ctx.Err() != nil {
			return nil, err
		}
		log.Printf("migrate %s waits for the database: %s", version(), oneLine(err))
		pause(ctx, 500*time.Millisecond)
	}
}
