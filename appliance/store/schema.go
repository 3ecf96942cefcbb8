package store

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"

	"go.etcd.io/bbolt"
)

// Schema is the version of the file's layout that this program writes. It reads
// every older one.
const Schema = 1

// Kind is a sort of document. Each has names of its own.
type Kind string

// Kinds of documents.
const (
	KindMachines  Kind = "machines"
	KindTargets   Kind = "targets"
	KindProfiles  Kind = "profiles"
	KindGroups    Kind = "groups"
	KindRules     Kind = "rules"
	KindTemplates Kind = "templates"
	KindSite      Kind = "site"
	KindAttempts  Kind = "attempts"
	KindMeta      Kind = "meta" // what the box notes for itself
)

// Kinds lists every kind.
func Kinds() []Kind {
	return []Kind{
		KindMachines, KindTargets, KindProfiles, KindGroups, KindRules, KindTemplates, KindSite,
		KindAttempts, KindMeta,
	}
}

// The bucket that says what the file is. Every schema keeps the first key as
// it is here, so that an older program can tell that it meets a newer file.
const (
	headBucket = "store"
	keySchema  = "schema" // schemaValue
	keyDigest  = "digest" // digest.bytes, since schema 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// schemaValue is a schema's number and a checksum of it: a flipped bit must not
// make a file look newer than it is, for then it would be refused for ever
// instead of being set aside.
func schemaValue(n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(n))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(append([]byte(keySchema), b...), castagnoli))
}

func parseSchema(b []byte) (int, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("schema number of %d octets", len(b))
	}
	n := int(binary.BigEndian.Uint32(b))
	if string(schemaValue(n)) != string(b) {
		return 0, errors.New("checksum of the schema number is wrong")
	}
	return n, nil
}

// digest is a sum over all documents that does not depend on their order: it is
// kept up to date change by change, and shows a document that was changed, lost
// or brought back by anything else.
type digest struct {
	count uint64
	sum   [sha256.Size]byte
}

func (d *digest) toggle(kind Kind, name, doc []byte) {
	h := sha256.New()
	var length [8]byte
	for _, part := range [][]byte{[]byte(kind), name, doc} {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write(part)
	}
	var one [sha256.Size]byte
	h.Sum(one[:0])
	for i := range d.sum {
		d.sum[i] ^= one[i]
	}
}

func (d *digest) add(kind Kind, name, doc []byte) {
	d.count++
	d.toggle(kind, name, doc)
}

func (d *digest) remove(kind Kind, name, doc []byte) {
	d.count--
	d.toggle(kind, name, doc)
}

func (d *digest) bytes() []byte {
	return append(binary.BigEndian.AppendUint64(nil, d.count), d.sum[:]...)
}

func parseDigest(b []byte) (d digest, err error) {
	if len(b) != 8+sha256.Size {
		return d, fmt.Errorf("sum over all documents of %d octets", len(b))
	}
	d.count = binary.BigEndian.Uint64(b)
	copy(d.sum[:], b[8:])
	return d, nil
}

// migration brings a file from one schema to the next, in the transaction that
// also writes the new schema's number.
type migration struct {
	from int
	what string // for the log
	run  func(*bbolt.Tx) error
}

// migrations are sorted by from; each leads to from+1. They are never changed
// once released: a file may come from any older release.
var migrations = []migration{
	{0, "head with schema and sum, site as a kind of its own", migrate0},
}

// Schema 0 was never released: the boxes of the first field trials have it. It
// has the kinds' buckets but for site, whose one document lies in meta under
// this name, and no head.
const site0 = "site"

// buckets0 are the buckets that a file of schema 0 may have.
var buckets0 = []string{
	string(KindMachines), string(KindTargets), string(KindProfiles), string(KindGroups), string(KindRules),
	string(KindTemplates), string(KindAttempts), string(KindMeta),
}

func migrate0(tx *bbolt.Tx) error {
	if err := createBuckets(tx); err != nil {
		return err
	}
	meta := tx.Bucket([]byte(KindMeta))
	if doc := meta.Get([]byte(site0)); doc != nil {
		if err := tx.Bucket([]byte(KindSite)).Put([]byte(site0), slices.Clone(doc)); err != nil {
			return err
		}
		if err := meta.Delete([]byte(site0)); err != nil {
			return err
		}
	}
	var d digest
	for _, kind := range Kinds() {
		if err := tx.Bucket([]byte(kind)).ForEach(func(name, doc []byte) error {
			d.add(kind, name, doc)
			return nil
		}); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(headBucket)).Put([]byte(keyDigest), d.bytes())
}

// migrate runs the migrations from a schema up to this program's.
func migrate(tx *bbolt.Tx, from int) error {
	for _, m := range migrations {
		if m.from < from {
			continue
		}
		if err := m.run(tx); err != nil {
			return fmt.Errorf("schema %d to %d: %w", m.from, m.from+1, err)
		}
	}
	return tx.Bucket([]byte(headBucket)).Put([]byte(keySchema), schemaValue(Schema))
}

func createBuckets(tx *bbolt.Tx) error {
	if _, err := tx.CreateBucketIfNotExists([]byte(headBucket)); err != nil {
		return err
	}
	for _, kind := range Kinds() {
		if _, err := tx.CreateBucketIfNotExists([]byte(kind)); err != nil {
			return err
		}
	}
	return nil
}

// initialise makes an empty file one of this schema.
func initialise(tx *bbolt.Tx) error {
	if err := createBuckets(tx); err != nil {
		return err
	}
	head := tx.Bucket([]byte(headBucket))
	if err := head.Put([]byte(keyDigest), (&digest{}).bytes()); err != nil {
		return err
	}
	return head.Put([]byte(keySchema), schemaValue(Schema))
}

// contents is what the reader found in a file, as far as the schema needs it.
type contents struct {
	buckets []string // top level, sorted
	nested  string   // a bucket within a bucket, if there is one
	empty   string   // the kind that holds an empty document, if one does
	head    map[string][]byte
	sum     digest
}

// visit takes one entry from the reader. value is nil for a bucket.
func (c *contents) visit(path []string, key, value []byte) {
	switch {
	case value == nil && len(path) == 0:
		c.buckets = append(c.buckets, string(key))
	case value == nil:
		c.nested = strings.Join(path, "/") + "/" + string(key)
	case len(path) == 1 && path[0] == headBucket:
		if c.head == nil {
			c.head = map[string][]byte{}
		}
		if len(c.head) < 16 { // two are known
			c.head[string(key)] = slices.Clone(value)
		}
	case len(path) == 1:
		if len(value) == 0 {
			c.empty = path[0]
		}
		c.sum.add(Kind(path[0]), key, value)
	}
}

// schema says which schema the contents are of. An error means damage.
// A newer schema is returned without further checks.
func (c *contents) schema() (int, error) {
	version := 0
	if slices.Contains(c.buckets, headBucket) {
		var err error
		if version, err = parseSchema(c.head[keySchema]); err != nil {
			return 0, err
		}
		if version > Schema {
			return version, nil
		}
		if version == 0 {
			return 0, errors.New("schema 0 with a head")
		}
	}
	if c.nested != "" {
		return 0, fmt.Errorf("bucket %.100q does not belong here", c.nested)
	}
	if c.empty != "" {
		return 0, fmt.Errorf("empty document among the %s", c.empty)
	}
	if version == 0 {
		// Nothing but the names of the buckets says that the file is ours.
		if !slices.Contains(c.buckets, string(KindMachines)) {
			return 0, errors.New("not a state file: no head and no machines")
		}
		for _, b := range c.buckets {
			if !slices.Contains(buckets0, b) {
				return 0, fmt.Errorf("bucket %.100q does not belong here", b)
			}
		}
		return 0, nil
	}
	want := []string{headBucket}
	for _, kind := range Kinds() {
		want = append(want, string(kind))
	}
	slices.Sort(want)
	if !slices.Equal(c.buckets, want) {
		return 0, fmt.Errorf("buckets are %.200q instead of %q", c.buckets, want)
	}
	stored, err := parseDigest(c.head[keyDigest])
	if err != nil {
		return 0, err
	}
	if stored != c.sum {
		return 0, fmt.Errorf("the documents are not those that were written: %d found, %d expected, or their sum differs",
			c.sum.count, stored.count)
	}
	return version, nil
}
