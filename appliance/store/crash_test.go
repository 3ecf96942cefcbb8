package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// child is a process of this test binary.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines *bufio.Scanner
}

// startChild starts one and waits for its line "ready".
func startChild(t testing.TB, name string, args ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(self, args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+name)
	c.cmd.Stderr = os.Stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.lines = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	if !c.lines.Scan() || c.lines.Text() != "ready" {
		t.Fatalf("child %s says %q", name, c.lines.Text())
	}
	return c
}

func (c *child) kill() {
	if c.cmd.ProcessState != nil {
		return
	}
	_ = c.cmd.Process.Kill()
	for c.lines.Scan() { // Wait closes the pipe
	}
	_ = c.cmd.Wait()
}

// The writer's transaction number n puts stamp n on five documents of several
// kinds, adds attempts/n and drops attempts/n-keptAttempts. So a look at the
// file shows whether n is whole, and nothing before it was lost.
const keptAttempts = 300

func transaction(n int) []Change {
	doc := func(i int) []byte { // of changing length, so that pages split and merge
		return fmt.Appendf(nil, `{"n":%d,"pad":"%s"}`, n, strings.Repeat("x", (n*7919+i*31)%2000))
	}
	changes := []Change{{KindAttempts, strconv.Itoa(n), doc(9)}}
	for i, kind := range []Kind{KindMachines, KindTargets, KindProfiles, KindSite, KindMeta} {
		changes = append(changes, Change{kind, "stamp", doc(i)})
	}
	if n > keptAttempts {
		changes = append(changes, Change{KindAttempts, strconv.Itoa(n - keptAttempts), nil})
	}
	return changes
}

// stateAfter is what the file holds after transaction n.
func stateAfter(n int) map[string]string {
	all := map[string]string{}
	for i := max(1, n-keptAttempts); i <= n; i++ {
		for _, c := range transaction(i) {
			if c.Doc == nil {
				delete(all, string(c.Kind)+"/"+c.Name)
			} else {
				all[string(c.Kind)+"/"+c.Name] = string(c.Doc)
			}
		}
	}
	return all
}

// writerChild writes transactions from a number on and says each number when
// it is durable.
func writerChild(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	db, did, err := Open(args[0], quiet(), time.Now)
	if err != nil {
		return err
	}
	if did.SetAside != "" {
		return errors.New("damaged: " + did.Damage)
	}
	fmt.Println("ready")
	for ; ; n++ {
		if err := db.Write(transaction(n)...); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKill9 kills a process while it writes, again and again. Every
// acknowledged change must be there afterwards, and nothing half done.
func TestKill9(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	dir := t.TempDir()
	path := filepath.Join(dir, FileName)
	n, unasked, empty := 0, 0, 0
	for round := range rounds {
		c := startChild(t, "writer", path, strconv.Itoa(n+1))
		// Sometimes at once, sometimes amid a busy spell.
		wait := time.Duration(random.IntN(25000)) * time.Microsecond
		killer := time.AfterFunc(wait, func() { _ = c.cmd.Process.Signal(syscall.SIGKILL) })
		acknowledged := n
		for c.lines.Scan() {
			got, err := strconv.Atoi(c.lines.Text())
			if err != nil || got != acknowledged+1 {
				t.Fatalf("round %d: the writer says %q after %d", round, c.lines.Text(), acknowledged)
			}
			acknowledged = got
		}
		err := c.cmd.Wait()
		killer.Stop()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("round %d: the writer ended by itself: %v", round, err)
		}
		if acknowledged == n {
			empty++
		}
		db, _ := mustOpen(t, path)
		all := dump(t, db)
		db.Close()
		// At most one transaction was done but not acknowledged yet.
		n = acknowledged
		if _, ok := all["attempts/"+strconv.Itoa(n+1)]; ok {
			n++
			unasked++
		}
		if diff := cmp.Diff(stateAfter(n), all); diff != "" {
			t.Fatalf("round %d, %d acknowledged: %s", round, acknowledged, diff)
		}
		if t.Failed() {
			return
		}
	}
	checkBolt(t, path)
	t.Logf("%d rounds, %d transactions, %d durable but not acknowledged, %d rounds without any", rounds, n, unasked, empty)
	if n < rounds/2 {
		t.Errorf("only %d transactions in %d rounds: the test kills too early", n, rounds)
	}
	for _, name := range list(t, dir) {
		if strings.Contains(name, suffixDamaged) {
			t.Errorf("%s was set aside", name)
		}
	}
}

// TestPowerCut builds what a power cut can leave of a transaction. bbolt writes
// pages that nobody refers to, syncs, writes one head, syncs. So until the first
// sync any part of any of those pages may be there in any order, and the head is
// the old one; and after it the head may be torn. The result must be the state
// before or after, and never count as damage.
func TestPowerCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dir := memoryDir(t)
	path := filepath.Join(dir, FileName)
	db, _ := mustOpen(t, path)
	read := func() []byte {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cut := filepath.Join(dir, "cut.db")
	opened, older, newer := 0, 0, 0
	reopen := func(n int, image []byte) {
		t.Helper()
		if err := os.WriteFile(cut, image, 0o600); err != nil {
			t.Fatal(err)
		}
		db, did, err := Open(cut, quiet(), testNow)
		if err != nil || did.SetAside != "" {
			t.Fatalf("transaction %d: %v %+v", n, err, did)
		}
		defer db.Close()
		opened++
		all := dump(t, db)
		if cmp.Equal(all, stateAfter(n-1)) {
			older++
		} else if cmp.Equal(all, stateAfter(n)) {
			newer++
		} else {
			t.Fatalf("transaction %d is there in part", n)
		}
	}
	const page, sector = 4096, 512
	before := read()
	for n := 1; n <= 60; n++ {
		if err := db.Write(transaction(n)...); err != nil {
			t.Fatal(err)
		}
		after := read()
		grown := make([]byte, len(after)) // the file may have been made longer already
		copy(grown, before)
		for _, old := range [][]byte{before, grown} {
			for range 4 { // before the first sync
				image := bytes.Clone(old)
				for at := 2 * page; at+sector <= len(image); at += sector {
					if random.IntN(2) == 0 {
						copy(image[at:at+sector], after[at:])
					}
				}
				reopen(n, image)
			}
		}
		image := append(bytes.Clone(grown[:2*page]), after[2*page:]...) // between the two
		reopen(n, image)
		for range 4 { // the head, torn anywhere
			torn := bytes.Clone(image)
			for at := range 2 * page {
				if random.IntN(2) == 0 {
					torn[at] = after[at]
				}
			}
			reopen(n, torn)
		}
		reopen(n, after)
		before = after
	}
	t.Logf("%d images: %d the state before, %d after", opened, older, newer)
	if older == 0 || newer < 60 {
		t.Error("the images are not what they should be")
	}
}

// memoryDir is a directory in memory where there is one: what is tested in it
// syncs much and is not about syncing.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "store") //nolint:usetesting // elsewhere on purpose
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// tornFile makes a file with several trees, free pages and overflow pages.
func tornFile(t testing.TB) (data []byte, all map[string]string) {
	path := filepath.Join(memoryDir(t), FileName)
	db, _ := mustOpen(t, path)
	for n := 1; n <= 40; n++ {
		if err := db.Write(transaction(n)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Write(Change{KindTemplates, "long", fmt.Appendf(nil, `"%20000d"`, 1)}); err != nil {
		t.Fatal(err)
	}
	all = dump(t, db)
	db.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, all
}

// openTorn opens a damaged copy. Either the state is one that was written, or
// the file has been set aside as it was and an empty one begun.
func openTorn(t testing.TB, dir, what string, image []byte, states ...map[string]string) (setAside bool) {
	t.Helper()
	path := filepath.Join(dir, FileName)
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	db, did, err := Open(path, quiet(), testNow)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer os.Remove(path)
	defer db.Close()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("%s: took %v", what, took)
	}
	got := dump(t, db)
	if did.SetAside != "" {
		if kept, err := os.ReadFile(did.SetAside); err != nil || !bytes.Equal(kept, image) {
			t.Errorf("%s: the file that was set aside is not the damaged one: %v", what, err)
		}
		if len(got) != 0 || !did.Created {
			t.Errorf("%s: started with %d documents, %+v", what, len(got), did)
		}
		os.Remove(did.SetAside)
	} else {
		same := false
		for _, s := range states {
			same = same || cmp.Equal(got, s)
		}
		if !same {
			t.Errorf("%s: opened with a state that never was", what)
		}
	}
	// In both cases it can be worked with, and bbolt finds nothing wrong either.
	// Twice, for there are two heads, and a wrong bit beside the part of a head
	// that counts is overwritten in passing.
	for i := range 2 {
		if err := db.Write(Change{KindSite, "site", fmt.Append(nil, i)}); err != nil {
			t.Errorf("%s: write: %v", what, err)
		}
	}
	db.Close()
	checkBolt(t, path)
	return did.SetAside != ""
}

// TestTornFile cuts a file at many places, and damages pages in many ways.
func TestTornFile(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	data, all := tornFile(t)
	dir := memoryDir(t)
	// The newest head damaged, bbolt and we go back to the head before it.
	previous := stateAfter(40)
	var aside, whole int
	try := func(what string, image []byte) {
		t.Helper()
		if openTorn(t, dir, what, image, all, previous) {
			aside++
		} else {
			whole++
		}
	}
	try("undamaged", data)
	if aside != 0 {
		t.Fatal("the file was not whole to begin with")
	}
	for _, n := range []int{0, 1, 15, 16, 79, 80, 81, 4095, 4096, 4097, 4176, 8191, 8192, 8193, 12288, 16384} {
		try(fmt.Sprintf("cut at %d", n), data[:n])
	}
	step := 3001
	if testing.Short() {
		step = 30011
	}
	for n := step; n < len(data); n += step {
		try(fmt.Sprintf("cut at %d", n), data[:n])
	}
	const page = 4096
	for n := 0; n+page <= len(data); n += page {
		for what, fill := range map[string][]byte{
			"zeros": make([]byte, page), "ones": bytes.Repeat([]byte{0xff}, page),
			"the page before": data[max(0, n-page):][:page],
		} {
			image := bytes.Clone(data)
			copy(image[n:], fill)
			try(fmt.Sprintf("page %d is %s", n/page, what), image)
		}
		for _, at := range []int{0, 8, 10, 12, 16, 20, 24, 28, 32, 512, 3000} { // header, first elements, data
			image := bytes.Clone(data)
			image[n+at] ^= 1 << random.IntN(8)
			try(fmt.Sprintf("page %d, bit at %d", n/page, at), image)
		}
	}
	t.Logf("%d set aside, %d opened", aside, whole)
	if aside < 50 || whole < 50 {
		t.Error("the damage is not what it should be")
	}
}

// TestTornLive reads a valid tree whose pages are exchanged: nothing of the
// structure is wrong, only the sum over the documents can tell.
func TestTornLive(t *testing.T) {
	data, all := tornFile(t)
	dir := memoryDir(t)
	for _, c := range []struct{ old, new string }{
		{`{"n":40,"pad"`, `{"n":41,"pad"`}, // a document
		{"long", "lonf"},                   // a name
		{"xxxxxxxx", "xxxxyxxx"},
	} {
		found, tried := 0, 0
		// Some hits lie in free pages, where nothing counts. The long runs are
		// looked at here and there.
		for at := 0; at < len(data); at += 1009 {
			i := bytes.Index(data[at:], []byte(c.old))
			if i < 0 {
				break
			}
			at += i
			image := bytes.Clone(data)
			copy(image[at:], c.new)
			tried++
			if openTorn(t, dir, c.old, image, all) {
				found++
			}
		}
		if found == 0 {
			t.Errorf("%q to %q: tried %d times, never noticed", c.old, c.new, tried)
		}
		t.Logf("%q to %q: tried %d times, noticed %d times", c.old, c.new, tried, found)
	}
}

// FuzzOpen damages a file at will. Whatever the reader lets through, bbolt must
// be able to work with.
func FuzzOpen(f *testing.F) {
	dir := memoryDir(f)
	path := filepath.Join(dir, FileName)
	db, _ := mustOpen(f, path)
	for n := 1; n <= 12; n++ { // small, with trees of two levels
		if err := db.Write(transaction(n)...); err != nil {
			f.Fatal(err)
		}
	}
	db.Close()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Logf("%d octets", len(data))
	f.Add(uint32(0), []byte{0}, uint32(4096), []byte{1})
	f.Add(uint32(8192), []byte{0, 0, 0, 0}, uint32(8200), []byte{2})
	f.Add(uint32(16), make([]byte, 64), uint32(4112), make([]byte, 64))
	f.Add(uint32(12288+16), []byte{1, 0, 0, 0, 16, 0, 0, 0}, uint32(20480), []byte{9})
	f.Add(uint32(27), []byte("0"), uint32(4186), []byte("0")) // a page size that only bbolt believed
	f.Fuzz(func(t *testing.T, at1 uint32, b1 []byte, at2 uint32, b2 []byte) {
		image := bytes.Clone(data)
		copy(image[int(at1)%len(image):], b1)
		copy(image[int(at2)%len(image):], b2)
		fixHeads(image)
		seen := 0
		if _, err := inspect(bytes.NewReader(image), int64(len(image)), MaxFile, func([]string, []byte, []byte) { seen++ }); err != nil {
			if !isDamage(err) {
				t.Fatalf("%v is not damage", err)
			}
			return
		}
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
		if err != nil {
			t.Fatalf("bbolt refuses what the reader took: %v", err)
		}
		defer b.Close()
		if err := b.Update(func(tx *bbolt.Tx) error {
			n := 0
			if err := tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error { return count(bucket, &n) }); err != nil {
				return err
			}
			if n != seen {
				return fmt.Errorf("bbolt sees %d entries, the reader saw %d", n, seen)
			}
			for err := range tx.Check() {
				if !strings.Contains(err.Error(), "unreachable unfreed") { // leaked: harmless
					return err
				}
			}
			bucket, err := tx.CreateBucketIfNotExists([]byte(KindMeta))
			if err != nil {
				return nil //nolint:nilerr // an entry that is not a bucket has the name
			}
			return bucket.Put([]byte("fuzz"), bytes.Repeat([]byte("x"), 10000))
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// fixHeads gives both heads a right checksum, so that damage in them is met. The
// header beside it counts for bbolt's check alone, and the next writes mend it.
func fixHeads(image []byte) {
	for n := range 2 {
		at := image[n*4096:]
		copy(at, make([]byte, pageHeader))
		at[0], at[8] = byte(n), 4 // page number, flag
		h := fnv.New64a()
		h.Write(at[pageHeader:][:metaSize-8])
		binary.LittleEndian.PutUint64(at[pageHeader+metaSize-8:], h.Sum64())
	}
}

func count(b *bbolt.Bucket, n *int) error {
	*n++
	return b.ForEach(func(k, v []byte) error {
		if v == nil {
			return count(b.Bucket(k), n)
		}
		*n++
		return nil
	})
}
