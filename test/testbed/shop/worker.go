package main

import (
	"context"
	"errors"
	"log"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// work processes orders until it is asked to stop; it finishes the one it has.
func work(ctx context.Context) error {
	s, err := openStore(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.boot(ctx, "worker"); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for ctx.Err() == nil {
		id, err := s.next(ctx)
		switch {
		case errors.Is(err, redis.Nil) || ctx.Err() != nil && err != nil:
			continue
		case err != nil:
			log.Printf("worker %s: queue: %s", version(), oneLine(err))
			pause(ctx, 500*time.Millisecond)
			continue
		}
		s.process(ctx, id)
	}
	log.Printf("worker %s stopped", version())
	return nil
}

// next is the id of the next order; redis.Nil if there was none for a second.
func (s *store) next(ctx context.Context) (int64, error) {
	// Not cancelled by the stop: an order that Redis has just handed out would be lost.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second+answerTimeout)
	defer cancel()
	popped, err := s.queue.BRPop(ctx, time.Second, queueName).Result()
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(popped[1], 10, 64)
}

// process marks the order, however long the database is away. Asked to stop
// before that, it puts the order back.
func (s *store) process(ctx context.Context, id int64) {
	for {
		err := s.mark(ctx, id)
		if err == nil {
			log.Printf("worker %s: processed order %d", version(), id)
			return
		}
		log.Printf("worker %s: order %d: %s", version(), id, oneLine(err))
		if errors.Is(err, errNotFound) {
			return // its maker took it back
		}
		if !pause(ctx, 500*time.Millisecond) {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	if err := s.queue.RPush(ctx, queueName, id).Err(); err != nil {
		log.Printf("worker %s: order %d is lost: %s", version(), id, oneLine(err))
	}
}

func (s *store) mark(ctx context.Context, id int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
	defer cancel()
	update := "UPDATE orders SET processed_by = $2 WHERE id = $1"
	if hasNote2() {
		update = "UPDATE orders SET processed_by = $2, note2 = coalesce(note2, 'none') WHERE id = $1"
	}
	done, err := s.db.Exec(ctx, update, id, version())
	if err == nil && done.RowsAffected() == 0 {
		return errNotFound
	}
	return err
}
