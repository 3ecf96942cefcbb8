package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of a script that is played.
const (
	maxScriptSteps = 5000
	maxScriptSize  = 256 << 10
)

// scriptRun plays iPXE scripts: as much of the language as the box's scripts use.
// Menus end by their time-out, prompts without a key.
type scriptRun struct {
	p       *Puppet
	pw      Power
	http    *http.Client
	set     map[string]string
	kernel  string // loaded, not started
	cmdline string
	left    bool
	steps   int
	choice  string // of the menu that was built last
}

// errExit ends a script and all that called it.
var errExit = errors.New("exit")

// run plays a script and what it chains to. It returns the kernel or program that
// was started, or "" when the script left for the next boot device or ended.
func (s *scriptRun) run(ctx context.Context, text string) (string, error) {
	for {
		next, started, err := s.play(ctx, text)
		if errors.Is(err, errExit) {
			s.left = true
			return "", nil
		}
		if next == "" || err != nil {
			return started, err
		}
		text = next
	}
}

// play runs one script to its end: next is a script that replaces it.
func (s *scriptRun) play(ctx context.Context, text string) (next, started string, err error) {
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		if s.steps++; s.steps > maxScriptSteps {
			return "", "", errors.New("script: runs in circles")
		}
		if err := ctx.Err(); err != nil {
			return "", "", err
		}
		line := strings.TrimSpace(lines[i])
		if line == "" || line[0] == '#' || line[0] == ':' {
			continue
		}
		r, err := s.line(ctx, line)
		switch {
		case err != nil:
			return "", "", err
		case r.next != "" || r.started != "":
			return r.next, r.started, nil
		case r.to != "":
			at := -1
			for j, l := range lines {
				if strings.TrimSpace(l) == ":"+r.to {
					at = j
				}
			}
			if at < 0 {
				return "", "", fmt.Errorf("script: no label %q", r.to)
			}
			i = at
		case !r.ok:
			return "", "", fmt.Errorf("script: %q failed and nothing catches it", line)
		}
	}
	return "", "", nil
}

// done is what a command came to.
type done struct {
	ok            bool
	to            string // label to go to
	next, started string
}

// line runs commands that are joined by && and ||, from the left.
func (s *scriptRun) line(ctx context.Context, line string) (done, error) {
	r := done{ok: true}
	op := "&&"
	for word := range splitOps(line) {
		if word == "&&" || word == "||" {
			op = word
			continue
		}
		if r.ok != (op == "&&") {
			continue
		}
		words := strings.Fields(word)
		if len(words) == 0 { // "|| " alone is success
			r.ok = true
			continue
		}
		for i, w := range words {
			words[i] = s.expand(w)
		}
		var err error
		if r, err = s.command(ctx, words); err != nil || r.to != "" || r.next != "" || r.started != "" {
			return r, err
		}
	}
	return r, nil
}

// splitOps yields commands and the operators between them; a trailing operator is
// followed by an empty command.
func splitOps(line string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		var command []string
		for w := range strings.FieldsSeq(line) {
			if w != "&&" && w != "||" {
				command = append(command, w)
				continue
			}
			if !yield(strings.Join(command, " ")) || !yield(w) {
				return
			}
			command = nil
		}
		yield(strings.Join(command, " "))
	}
}

// expand replaces ${name}, innermost first.
func (s *scriptRun) expand(w string) string {
	for range 64 {
		end := strings.IndexByte(w, '}')
		if end < 0 {
			return w
		}
		start := strings.LastIndex(w[:end], "${")
		if start < 0 {
			return w
		}
		name, kind, _ := strings.Cut(w[start+2:end], ":")
		value := s.set[name]
		if kind == "uristring" {
			value = strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
		}
		w = w[:start] + value + w[end+1:]
	}
	return w
}

func (s *scriptRun) command(ctx context.Context, words []string) (done, error) {
	yes, args := done{ok: true}, words[1:]
	switch words[0] {
	case "goto":
		return done{ok: true, to: strings.Join(args, "")}, nil
	case "set":
		name, _, _ := strings.Cut(args[0], ":")
		s.set[name] = strings.Join(args[1:], " ")
	case "clear":
		delete(s.set, args[0])
	case "inc":
		n, _ := strconv.Atoi(s.set[args[0]])
		s.set[args[0]] = strconv.Itoa(n + 1)
	case "isset":
		return done{ok: len(args) > 0 && args[0] != ""}, nil
	case "iseq":
		return done{ok: len(args) == 2 && args[0] == args[1]}, nil
	case "menu":
		s.choice = ""
	case "item", "echo", "ifopen", "ifclose", "iflinkwait", "ifconf", "imgfree", "ifstat", "console", "login", "sleep", "imgstat", "route", "config":
	case "prompt", "shell", "cpuid", "sanboot":
		return done{}, nil // no key is pressed, and there is no disk
	case "choose":
		return s.choose(args), nil
	case "exit":
		s.p.note("script: exit")
		return done{}, errExit
	case "chain", "imgexec":
		return s.fetch(ctx, args, true)
	case "kernel", "initrd", "imgfetch", "imgselect", "module":
		r, err := s.fetch(ctx, args, false)
		if r.ok && words[0] == "kernel" {
			s.kernel = lastURL(args)
			s.cmdline = strings.Join(args, " ")
		}
		return r, err
	case "boot":
		s.p.note("boots %s", s.kernel)
		return done{ok: true, started: s.kernel}, nil
	default:
		return done{}, fmt.Errorf("script: command %q is not known here", words[0])
	}
	return yes, nil
}

// choose takes the default of a menu, as its time-out does.
func (s *scriptRun) choose(args []string) done {
	for i, a := range args {
		if a == "--default" && i+1 < len(args) {
			s.set[args[len(args)-1]] = args[i+1]
			return done{ok: true}
		}
	}
	return done{}
}

func lastURL(args []string) string {
	for _, a := range args {
		if strings.HasPrefix(a, "http://") || strings.HasPrefix(a, "https://") {
			return a
		}
	}
	return ""
}

// fetch downloads an address; with exec a script is run instead of this one, and
// anything else is a program that is started.
func (s *scriptRun) fetch(ctx context.Context, args []string, exec bool) (done, error) {
	u := lastURL(args)
	if u == "" {
		return done{}, nil
	}
	if s.pw.Before != nil {
		if err := s.pw.Before(u); err != nil {
			s.p.note("stops before %s: %v", u, err)
			return done{}, errOff
		}
	}
	body, n, err := s.get(ctx, u)
	if err != nil {
		s.p.note("GET %s: %v after %d octets", u, err, n)
		return done{}, ctx.Err()
	}
	s.p.note("GET %s: %d octets", u, n)
	if !exec {
		return done{ok: true}, nil
	}
	if strings.HasPrefix(body, "#!ipxe") {
		return done{ok: true, next: body}, nil
	}
	return done{ok: true, started: u}, nil
}

// get fetches as iPXE does: a transfer that stands still for a while has failed.
func (s *scriptRun) get(ctx context.Context, u string) (head string, n int64, err error) {
	const patience = 15 * time.Second
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stuck := errors.New("stands still")
	watch := time.AfterFunc(patience, func() { cancel(stuck) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return "", 0, err
	}
	req.Header.Set("User-Agent", "iPXE/2.0.0")
	resp, err := s.http.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", 0, errors.New(resp.Status)
	}
	var kept strings.Builder
	buf := make([]byte, 64<<10)
	for {
		k, err := resp.Body.Read(buf)
		if k > 0 {
			watch.Reset(patience)
			n += int64(k)
			kept.Write(buf[:min(k, max(0, maxScriptSize-kept.Len()))])
		}
		if errors.Is(err, io.EOF) {
			return kept.String(), n, nil
		}
		if err != nil {
			return "", n, err
		}
	}
}
