package proxydhcp

// lru is a bounded map that forgets the least recently used entry. It does not
// allocate once full. Not safe for concurrent use.
type lru[K comparable, V any] struct {
	index   map[K]int32
	entries []lruEntry[K, V]
	max     int
	newest  int32 // of a ring linked both ways; -1 when empty
}

type lruEntry[K comparable, V any] struct {
	key          K
	value        V
	older, newer int32
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{index: map[K]int32{}, max: max(limit, 1), newest: -1}
}

func (l *lru[K, V]) len() int { return len(l.entries) }

// get returns the value of key, which becomes the most recently used, or nil.
// The pointer is valid until the next add.
func (l *lru[K, V]) get(key K) *V {
	i, ok := l.index[key]
	if !ok {
		return nil
	}
	if i != l.newest {
		l.unlink(i)
		l.link(i)
	}
	return &l.entries[i].value
}

// add makes an entry for key, which must not be there. When another had to go
// for it, out holds its value and evicted is true.
func (l *lru[K, V]) add(key K) (value *V, out V, evicted bool) {
	var i int32
	if len(l.entries) < l.max {
		i = int32(len(l.entries))
		l.entries = append(l.entries, lruEntry[K, V]{})
	} else {
		i = l.entries[l.newest].newer // the oldest: the ring closes here
		out, evicted = l.entries[i].value, true
		delete(l.index, l.entries[i].key)
		l.unlink(i)
	}
	l.entries[i] = lruEntry[K, V]{key: key}
	l.index[key] = i
	l.link(i)
	return &l.entries[i].value, out, evicted
}

// each visits all entries, in no order.
func (l *lru[K, V]) each(visit func(K, *V)) {
	for i := range l.entries {
		visit(l.entries[i].key, &l.entries[i].value)
	}
}

func (l *lru[K, V]) link(i int32) {
	e := &l.entries[i]
	if l.newest < 0 {
		e.older, e.newer = i, i
	} else {
		n := l.newest
		oldest := l.entries[n].newer
		e.older, e.newer = n, oldest
		l.entries[n].newer = i
		l.entries[oldest].older = i
	}
	l.newest = i
}

func (l *lru[K, V]) unlink(i int32) {
	e := l.entries[i]
	if e.newer == i {
		l.newest = -1
		return
	}
	l.entries[e.older].newer = e.newer
	l.entries[e.newer].older = e.older
	if l.newest == i {
		l.newest = e.older
	}
}
