package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// answerTimeout is how long anything waits for the database or the queue:
// requests fail fast while one of them is down.
const answerTimeout = 2 * time.Second

// queueName is the Redis list of orders that nobody has processed.
const queueName = "orders"

// store is the database and the queue. Both connect when first used and again
// after they were away.
type store struct {
	db    *pgxpool.Pool
	queue *redis.Client
}

func databaseConfig() (*pgx.ConnConfig, error) {
	config, err := poolConfig()
	if err != nil {
		return nil, err
	}
	return config.ConnConfig, nil
}

func poolConfig() (*pgxpool.Config, error) {
	url, err := setting("DATABASE_URL")
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url) // its errors don't show the password
	if err != nil {
		return nil, err
	}
	config.ConnConfig.ConnectTimeout = answerTimeout
	config.ConnConfig.RuntimeParams["application_name"] = "shop " + version()
	// A connection may be one to a server that has restarted since: always ask before use.
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true }
	config.PingTimeout = answerTimeout
	return config, nil
}

func openStore(ctx context.Context) (*store, error) {
	config, err := poolConfig()
	if err != nil {
		return nil, err
	}
	url, err := setting("REDIS_URL")
	if err != nil {
		return nil, err
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("REDIS_URL is not a URL that Redis understands") // the error shows the password
	}
	options.DialTimeout, options.ReadTimeout, options.WriteTimeout = answerTimeout, answerTimeout, answerTimeout
	options.ContextTimeoutEnabled = true
	options.MaxRetries, options.DialerRetries = 1, 1
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	db, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return &store{db: db, queue: redis.NewClient(options)}, nil
}

func (s *store) close() {
	s.db.Close()
	_ = s.queue.Close()
}

// oldSchemaError says that migrations of this version were not applied.
type oldSchemaError struct{ have, need int }

func (e *oldSchemaError) Error() string {
	return fmt.Sprintf("shop %s needs schema %d, the database has %d: run `shop migrate`", version(), e.need, e.have)
}

// boot waits for the database, refuses a schema that lacks migrations of this
// version, and leaves a row that says who started on which schema.
func (s *store) boot(ctx context.Context, role string) error {
	need, err := migrations()
	if err != nil {
		return err
	}
	for {
		have, err := s.tryBoot(ctx, role, len(need))
		if old := (*oldSchemaError)(nil); err == nil || errors.As(err, &old) {
			if err == nil {
				log.Printf("%s %s started on schema %d", role, version(), have)
			}
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		log.Printf("%s %s waits for the database: %s", role, version(), oneLine(err))
		if !pause(ctx, 500*time.Millisecond) {
			return ctx.Err()
		}
	}
}

func (s *store) tryBoot(ctx context.Context, role string, need int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	have, err := schemaVersion(ctx, s.db)
	if err != nil {
		return 0, err
	}
	if have < need {
		return 0, &oldSchemaError{have, need}
	}
	_, err = s.db.Exec(ctx, "INSERT INTO boots (role, version, schema_version) VALUES ($1, $2, $3)", role, version(), have)
	return have, err
}

// querier is a connection or a pool of them.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// schemaVersion is the number of the last applied migration; 0 on an empty database.
func schemaVersion(ctx context.Context, db querier) (int, error) {
	var number int
	err := db.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM schema_version").Scan(&number)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "42P01" { // no such table
		return 0, nil
	}
	return number, err
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
