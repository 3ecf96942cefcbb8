package proxydhcp

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// maxDelayed bounds the answers that wait for their rule's delay. When it is
// reached, answers go out at once: early is better than not at all.
const maxDelayed = 1024

// delayQueue holds answers back until they are due.
type delayQueue struct {
	mu    sync.Mutex
	items dueHeap
	wake  chan struct{} // capacity 1: the earliest due time has changed
}

type dueItem struct {
	at  time.Time
	out Outbound
}

type dueHeap []dueItem

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(dueItem)) }
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = dueItem{}
	*h = (*h)[:last]
	return x
}

func newDelayQueue() *delayQueue { return &delayQueue{wake: make(chan struct{}, 1)} }

// put takes an answer that is due out.Delay from now; false when full.
func (q *delayQueue) put(out Outbound) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) >= maxDelayed {
		return false
	}
	heap.Push(&q.items, dueItem{time.Now().Add(out.Delay), out})
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// run calls send for every answer when it is due, until ctx ends. What is
// still waiting then is dropped: its client asks again.
func (q *delayQueue) run(ctx context.Context, send func(Outbound)) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		q.mu.Lock()
		wait := time.Hour
		var due []Outbound
		for now := time.Now(); len(q.items) > 0; {
			if wait = q.items[0].at.Sub(now); wait > 0 {
				break
			}
			due = append(due, heap.Pop(&q.items).(dueItem).out)
			wait = time.Hour
		}
		q.mu.Unlock()
		for _, out := range due {
			send(out)
		}
		if len(due) > 0 {
			continue // sending took time
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
	}
}
