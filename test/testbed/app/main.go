// Command app is the web app that the testbed's images run. APP_BEHAVIOR makes
// it misbehave in one of the ways in which real apps fail a deployment.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const bootDelay = 8 * time.Second // of APP_BEHAVIOR=slow

func main() {
	log.SetFlags(0)
	log.SetOutput(os.Stdout)
	command, args := "server", os.Args[1:]
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()

	var err error
	switch command {
	case "server":
		err = serve(ctx)
	case "worker":
		work(ctx)
	case "healthcheck":
		err = get("http://127.0.0.1:" + port() + "/up")
	case "get": // app get URL
		err = get(argument(args))
	case "env": // app env NAME
		fmt.Print(os.Getenv(argument(args)))
	case "sleep": // app sleep SECONDS
		sleep(ctx, argument(args))
	case "exit": // app exit CODE
		code, _ := strconv.Atoi(argument(args))
		os.Exit(code)
	case "cat": // app cat FILE
		err = cat(argument(args))
	case "job": // app job FILE TEXT SECONDS CODE
		err = job(ctx, args)
	default:
		err = fmt.Errorf("unknown command %q", command)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func argument(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

func port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "3000"
}

func serve(ctx context.Context) error {
	switch os.Getenv("APP_BEHAVIOR") {
	case "crash":
		fmt.Fprintln(os.Stderr, "app: FATAL: could not connect to database at db.internal:5432")
		os.Exit(3)
	case "slow":
		log.Printf("booting, ready in %s", bootDelay)
		select {
		case <-time.After(bootDelay):
		case <-ctx.Done():
			return nil
		}
	}

	server := &http.Server{Addr: ":" + port(), Handler: routes()}
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		log.Print("stopping: finishing the requests in flight")
		// Longer than any drain timeout, so that Docker, not the app, gives up first.
		limit, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		done <- server.Shutdown(limit)
	}()
	log.Printf("app %s listening on %s", os.Getenv("APP_VERSION"), server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	err := <-done
	log.Print("stopped")
	return err
}

func routes() http.Handler {
	hostname, _ := os.Hostname()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]string{"version": os.Getenv("APP_VERSION"), "hostname": hostname})
	})
	mux.HandleFunc("GET /up", up)
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintf(w, "%s slept %d ms\n", os.Getenv("APP_VERSION"), ms)
	})
	mux.HandleFunc("GET /env/{name}", func(w http.ResponseWriter, r *http.Request) {
		value, ok := os.LookupEnv(r.PathValue("name"))
		if !ok {
			http.Error(w, "not set", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		io.WriteString(w, value)
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.FormValue("code"))
		if err != nil || code < 200 || code > 599 {
			code = http.StatusBadRequest
		}
		w.WriteHeader(code)
		fmt.Fprintf(w, "status %d\n", code)
	})
	mux.HandleFunc("GET /request", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, map[string]any{"host": r.Host, "path": r.URL.Path, "remote": r.RemoteAddr, "header": r.Header})
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("GET /allocate", allocate)
	mux.Handle("GET /assets/", http.StripPrefix("/assets/", http.FileServer(http.Dir("/public/assets"))))
	return mux
}

// up is the health check.
func up(w http.ResponseWriter, r *http.Request) {
	switch os.Getenv("APP_BEHAVIOR") {
	case "unhealthy":
		http.Error(w, "database is down", http.StatusServiceUnavailable)
	case "redirect": // what Rails' force_ssl answers
		http.Redirect(w, r, "https://"+r.Host+r.URL.Path, http.StatusMovedPermanently)
	case "blocked": // what Rails' host authorization answers
		if r.Host != "app.example.com" {
			http.Error(w, "Blocked hosts: "+r.Host, http.StatusForbidden)
			return
		}
		io.WriteString(w, "ok\n")
	default:
		io.WriteString(w, "ok\n")
	}
}

// allocate keeps ?mb= megabytes for good, to run into a memory limit.
func allocate(w http.ResponseWriter, r *http.Request) {
	mb, _ := strconv.Atoi(r.FormValue("mb"))
	keeping.Lock()
	defer keeping.Unlock()
	for range mb {
		block := make([]byte, 1<<20)
		for i := 0; i < len(block); i += 4096 {
			block[i] = 1 // touched, or the kernel never hands out the page
		}
		kept = append(kept, block)
	}
	fmt.Fprintf(w, "kept %d MB\n", mb)
}

var (
	keeping sync.Mutex
	kept    [][]byte
)

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// work is a background worker: no port, a line a second.
func work(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	log.Printf("worker %s started", os.Getenv("APP_VERSION"))
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
			log.Printf("worker %s tick %d", os.Getenv("APP_VERSION"), n)
		case <-ctx.Done():
			log.Print("worker stopped")
			return
		}
	}
}

func sleep(ctx context.Context, seconds string) {
	n, _ := strconv.ParseFloat(seconds, 64)
	select {
	case <-time.After(time.Duration(n * float64(time.Second))):
	case <-ctx.Done():
	}
}

func cat(file string) error {
	content, err := os.ReadFile(file)
	if err == nil {
		_, err = os.Stdout.Write(content)
	}
	return err
}

// job is what a task runs: it notes in a file when it begins and when it ends,
// prints a text, variables expanded, and takes its time. SIGTERM ends it.
func job(ctx context.Context, args []string) error {
	if len(args) != 4 {
		return errors.New("want FILE TEXT SECONDS CODE")
	}
	note := func(what string) error {
		f, err := os.OpenFile(args[0], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = fmt.Fprintf(f, "%s %s\n", what, args[1])
		return err
	}
	if err := note("begin"); err != nil {
		return err
	}
	fmt.Println(os.ExpandEnv(args[1]))
	sleep(ctx, args[2])
	if ctx.Err() != nil {
		os.Exit(143)
	}
	if err := note("end"); err != nil {
		return err
	}
	code, _ := strconv.Atoi(args[3])
	os.Exit(code)
	return nil
}

// get prints the body; any status but 200 is a failure.
func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(os.Stdout, response.Body)
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
