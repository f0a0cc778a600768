package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// server answers from the first moment, but is up only after it has booted.
type server struct {
	*store
	booted atomic.Bool
}

func serve(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	opened, err := openStore(ctx)
	if err != nil {
		return err
	}
	defer opened.close()
	s := &server{store: opened}

	web := &http.Server{Addr: ":" + port(), Handler: s.routes()}
	done := make(chan error, 2)
	go func() {
		err := s.boot(ctx, "server")
		s.booted.Store(err == nil)
		if errors.Is(err, context.Canceled) {
			err = nil // asked to stop while it waited
		} else if err != nil {
			stop()
		}
		done <- err
	}()
	go func() {
		<-ctx.Done()
		log.Print("stopping: finishing the requests in flight")
		// Longer than any drain timeout, so that Docker, not the app, gives up first.
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Minute)
		defer cancel()
		done <- web.Shutdown(limit)
	}()
	log.Printf("shop %s listening on %s", version(), web.Addr)
	if err := web.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	err = errors.Join(<-done, <-done)
	log.Print("stopped")
	return err
}

func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /up", s.answer(s.up))
	mux.HandleFunc("GET /{$}", s.answer(s.root))
	mux.HandleFunc("POST /orders", s.answer(s.createOrder))
	mux.HandleFunc("GET /orders", s.answer(s.countOrders))
	mux.HandleFunc("GET /orders/{id}", s.answer(s.showOrder))
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintf(w, "%s slept %d ms\n", version(), ms)
	})
	return mux
}

// fields are a JSON object.
type fields map[string]any

var errNotFound = errors.New("no such order")

// answer gives a handler little time, and turns what it returns into JSON:
// a failure of the database or the queue is 503.
func (s *server) answer(handle func(*http.Request) (int, fields, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
		defer cancel()
		status, body, err := handle(r.WithContext(ctx))
		switch {
		case errors.Is(err, errNotFound):
			status, body = http.StatusNotFound, fields{"error": err.Error()}
		case err != nil:
			log.Printf("%s %s: %s", r.Method, r.URL.Path, oneLine(err))
			status, body = http.StatusServiceUnavailable, fields{"error": oneLine(err), "version": version()}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (s *server) up(r *http.Request) (int, fields, error) {
	if !s.booted.Load() {
		return 0, nil, errors.New("still starting")
	}
	return http.StatusOK, fields{"up": true}, s.db.Ping(r.Context())
}

func (s *server) root(r *http.Request) (int, fields, error) {
	number, err := schemaVersion(r.Context(), s.db)
	if err != nil {
		return 0, nil, err
	}
	var user string
	if err := s.db.QueryRow(r.Context(), "SELECT session_user").Scan(&user); err != nil {
		return 0, nil, err
	}
	hostname, _ := os.Hostname()
	return http.StatusOK, fields{"version": version(), "schema_version": number, "db_user": user, "hostname": hostname}, nil
}

// createOrder takes the note from a form or from JSON.
func (s *server) createOrder(r *http.Request) (int, fields, error) {
	note := r.FormValue("note")
	if media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media == "application/json" {
		var order struct{ Note string }
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&order); err != nil {
			return http.StatusBadRequest, fields{"error": err.Error()}, nil
		}
		note = order.Note
	}
	insert, args := "INSERT INTO orders (note) VALUES ($1) RETURNING id", []any{note}
	if hasNote2() {
		insert, args = "INSERT INTO orders (note, note2) VALUES ($1, $2) RETURNING id", []any{note, "made by " + version()}
	}
	var id int64
	if err := s.db.QueryRow(r.Context(), insert, args...).Scan(&id); err != nil {
		return 0, nil, err
	}
	if err := s.queue.LPush(r.Context(), queueName, id).Err(); err != nil {
		// Who is told of a failure must not find the order later.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), answerTimeout)
		defer cancel()
		_, undone := s.db.Exec(ctx, "DELETE FROM orders WHERE id = $1", id)
		return 0, nil, errors.Join(fmt.Errorf("queue: %w", err), undone)
	}
	return http.StatusCreated, fields{"id": id}, nil
}

func (s *server) countOrders(r *http.Request) (int, fields, error) {
	var count int64
	err := s.db.QueryRow(r.Context(), "SELECT count(*) FROM orders").Scan(&count)
	return http.StatusOK, fields{"count": count}, err
}

func (s *server) showOrder(r *http.Request) (int, fields, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return 0, nil, errNotFound
	}
	var note string
	var note2, processedBy *string
	var created time.Time
	columns, values := "note, created, processed_by", []any{&note, &created, &processedBy}
	if hasNote2() {
		columns, values = columns+", note2", append(values, &note2)
	}
	err = s.db.QueryRow(r.Context(), "SELECT "+columns+" FROM orders WHERE id = $1", id).Scan(values...)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil, errNotFound
	}
	order := fields{"id": id, "note": note, "created": created, "processed_by": processedBy}
	if hasNote2() {
		order["note2"] = note2
	}
	return http.StatusOK, order, err
}

// hasNote2 says whether this version knows the column of the second migration.
func hasNote2() bool { return version() != "v1" }
