// Command mutate proves that the tests notice when the decision code is wrong.
//
// It breaks the code in hundreds of small ways, one at a time (a condition
// forced, a limit moved by one, an option code changed, a statement left out),
// runs the conformance cases and, where those see nothing, the unit tests, and
// prints two tables: the mutants that nothing noticed, and for every
// conformance case a mutant that makes it fail.
//
// All mutants are compiled into one test binary, through an overlay, and
// switched on one by one by an environment variable: a run takes minutes, not
// hours. It never changes a file of the repository.
//
// Run it from the root of the repository: go run ./appliance/mutate. It exits
// with 1 when a mutant survives that is not explained in equivalents.go, or a
// case is never made to fail.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// target is a package whose files are broken; functions limits it to some.
type target struct {
	dir       string
	files     []string
	functions []string
	// own: the code has no part in DHCP, so its package's own tests are all that
	// can notice; and its texts with a space are sentences for people.
	own bool
}

var targets = []target{
	{dir: "appliance/boot", files: []string{"arch.go", "client.go", "decide.go", "memory.go"}},
	{dir: "appliance/boot", own: true, files: []string{
		"identify.go", "records.go", "match.go", "catalog.go", "decision.go", "trust.go", "preflight.go", "assignment.go", "check.go", "text.go",
		"shape.go", "quirk.go", "quirk_round.go", "quirk_memory.go",
	}},
	{dir: "appliance/proxydhcp", files: []string{"env.go", "relay.go", "request.go", "reply.go", "encode.go", "limit.go"}},
	{dir: "appliance/settings", files: []string{"settings.go"}, functions: []string{"checkFile"}},
}

// suites are the test binaries: the first has the conformance cases.
var suites = []string{"appliance/proxydhcp", "appliance/boot", "appliance/settings"}

const (
	variable   = "BOOTPUCK_MUTANT"
	perMutant  = 30 * time.Second // a mutant that runs longer hangs: noticed
	wantCases  = 88
	conformity = "^TestConformance$"
)

func main() {
	verbose := flag.Bool("v", false, "print every mutant with what noticed it")
	only := flag.String("only", "", "run only mutants whose description matches this regular expression")
	flag.Parse()
	if err := run(*verbose, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(verbose bool, only string) error {
	root, err := os.Getwd()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	start := time.Now()
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	mutants, binaries, err := build(root, work)
	if err != nil {
		return err
	}
	fmt.Printf("%d mutants compiled in %v\n", len(mutants), time.Since(start).Round(time.Second))
	for i, binary := range binaries {
		if _, failed, out := test(root, suites[i], binary, 0, ""); failed {
			return fmt.Errorf("the tests of %s fail without any mutant:\n%s", suites[i], out)
		}
	}
	if only != "" {
		mutants = slices.DeleteFunc(mutants, func(m *mutant) bool { return !wanted.MatchString(m.String()) })
	}
	judge(root, binaries, mutants)
	fmt.Printf("judged in %v\n\n", time.Since(start).Round(time.Second))
	return report(mutants, verbose, only != "")
}

// build writes the overlay and compiles the test binaries.
func build(root, work string) (mutants []*mutant, binaries []string, err error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for _, t := range targets {
		files, found, err := instrument(root, t, len(mutants))
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.dir, err)
		}
		mutants = append(mutants, found...)
		for name, text := range files {
			copied := filepath.Join(work, strings.ReplaceAll(filepath.Join(t.dir, name), string(filepath.Separator), "_"))
			if err := os.WriteFile(copied, text, 0o600); err != nil {
				return nil, nil, err
			}
			overlay.Replace[filepath.Join(root, t.dir, name)] = copied
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return nil, nil, err
	}
	overlayFile := filepath.Join(work, "overlay.json")
	if err := os.WriteFile(overlayFile, list, 0o600); err != nil {
		return nil, nil, err
	}
	for _, dir := range suites {
		binary := filepath.Join(work, filepath.Base(dir)+".test")
		c := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlayFile, "-o", binary, "./"+dir)
		c.Dir = root
		if out, err := c.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("compile the mutants of %s: %w\n%s", dir, err, out)
		}
		binaries = append(binaries, binary)
	}
	return mutants, binaries, nil
}

var failedCase = regexp.MustCompile(`(?m)^\s*--- FAIL: TestConformance/(\d{3})`)

// test runs one binary with one mutant switched on (0: none). cases are the
// conformance cases that failed.
func test(root, dir, binary string, id int, pattern string) (cases []string, failed bool, out []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), perMutant)
	defer cancel()
	args := []string{"-test.short", "-test.timeout=" + perMutant.String()}
	if pattern != "" {
		args = append(args, "-test.run="+pattern)
	} else {
		args = append(args, "-test.failfast")
	}
	c := exec.CommandContext(ctx, binary, args...)
	c.Dir = filepath.Join(root, dir)
	c.Env = append(os.Environ(), variable+"="+strconv.Itoa(id))
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	for _, m := range failedCase.FindAllSubmatch(out, -1) {
		cases = append(cases, string(m[1]))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && ctx.Err() == nil {
		out = append(out, err.Error()...)
	}
	return cases, err != nil, bytes.TrimSpace(out)
}

// judge runs every mutant until something notices it.
func judge(root string, binaries []string, mutants []*mutant) {
	queue := make(chan *mutant)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for m := range queue {
				var failed bool
				if m.own {
					i := slices.Index(suites, filepath.Dir(m.file))
					if _, failed, _ := test(root, suites[i], binaries[i], m.id, ""); failed {
						m.noticed = "unit tests of " + suites[i]
					}
					continue
				}
				if m.cases, failed, _ = test(root, suites[0], binaries[0], m.id, conformity); failed {
					m.noticed = "conformance"
					continue
				}
				for i, binary := range binaries {
					if _, failed, _ := test(root, suites[i], binary, m.id, ""); failed {
						m.noticed = "unit tests of " + suites[i]
						break
					}
				}
			}
		})
	}
	for i, m := range mutants {
		queue <- m
		if i%100 == 99 {
			fmt.Printf("%d of %d\n", i+1, len(mutants))
		}
	}
	close(queue)
	wg.Wait()
}

// report prints the tables.
func report(mutants []*mutant, verbose, partial bool) error {
	by := map[string]int{}
	breaks := map[string]*mutant{} // case: the mutant that breaks it and least else
	var survivors, explained []*mutant
	for _, m := range mutants {
		by[m.noticed]++
		for _, c := range m.cases {
			if old := breaks[c]; old == nil || len(m.cases) < len(old.cases) {
				breaks[c] = m
			}
		}
		if verbose {
			fmt.Printf("%-32s %s %s\n", m.noticed, m, strings.Join(m.cases, " "))
		}
		switch {
		case m.noticed != "":
		case equivalents[m.key()] != "":
			explained = append(explained, m)
		default:
			survivors = append(survivors, m)
		}
	}
	fmt.Println("Conformance case | broken by (and how many cases that mutant breaks)")
	var never []string
	for i := 1; i <= wantCases; i++ {
		id := fmt.Sprintf("%03d", i)
		if m := breaks[id]; m != nil {
			fmt.Printf("%s | %s (%d)\n", id, m, len(m.cases))
		} else {
			never = append(never, id)
		}
	}
	fmt.Printf("\n%d mutants: %d noticed by the conformance cases, %d only by unit tests, %d equivalent, %d survive\n",
		len(mutants), by["conformance"], len(mutants)-by["conformance"]-by[""], len(explained), len(survivors))
	for _, m := range explained {
		fmt.Printf("equivalent | %s | %s\n", m, equivalents[m.key()])
	}
	for _, m := range survivors {
		fmt.Printf("survivor | %s | %q\n", m, m.key())
	}
	if partial {
		return nil
	}
	var err error
	if len(never) > 0 {
		err = fmt.Errorf("no mutant makes these cases fail: %s", strings.Join(never, " "))
	}
	if len(survivors) > 0 {
		err = errors.Join(err, fmt.Errorf("%d mutants survive", len(survivors)))
	}
	return err
}
