package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v4"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"bootpuckctl": func() { os.Exit(mainStatus()) },
	})
}

// TestScripts runs the program as operators and their scripts do, each script
// against a box of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			b := newFakeBox(t)
			e.Values["box"] = b
			e.Setenv("BOOTPUCK_BOX", b.url)
			e.Setenv("BOOTPUCK_TOKEN", boxToken)
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  statusCmd,
			"box":     boxCmd,
			"asked":   askedCmd,
			"field":   fieldCmd,
			"visible": visibleCmd,
		},
		Condition: func(c string) (bool, error) {
			if name, ok := strings.CutPrefix(c, "shell:"); ok {
				_, err := exec.LookPath(name)
				return err == nil, nil
			}
			return false, fmt.Errorf("no condition %q", c)
		},
	})
}

// statusCmd is "status N bootpuckctl …": it runs the program and wants exactly
// that exit status.
func statusCmd(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		e, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = e.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func theBox(ts *testscript.TestScript) *fakeBox {
	b, ok := ts.Value("box").(*fakeBox)
	if !ok {
		ts.Fatalf("there is no box")
	}
	return b
}

// boxCmd is "box TROUBLE…": from now on this goes wrong; "box well" ends it.
func boxCmd(ts *testscript.TestScript, _ bool, args []string) {
	b := theBox(ts)
	b.mu.Lock()
	defer b.mu.Unlock()
	clear(b.trouble)
	for _, a := range args {
		if a != "well" {
			b.trouble[a] = true
		}
	}
}

// askedCmd is "asked TEXT": some question to the box contained that.
func askedCmd(ts *testscript.TestScript, neg bool, args []string) {
	b := theBox(ts)
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Join(b.asked, "\n")
	if strings.Contains(all, args[0]) == neg {
		ts.Fatalf("asked was:\n%s", all)
	}
}

// fieldCmd is "field json|yaml PATH WANT": the last output is read as that and
// holds WANT at PATH ("0/seen/mac"); path "len" is the number of items.
func fieldCmd(ts *testscript.TestScript, neg bool, args []string) {
	var v any
	out := []byte(ts.ReadFile("stdout"))
	if args[0] == "json" {
		ts.Check(json.Unmarshal(out, &v))
	} else {
		ts.Check(yaml.Unmarshal(out, &v))
	}
	if args[1] != "." && args[1] != "len" {
		for name := range strings.SplitSeq(args[1], "/") {
			switch x := v.(type) {
			case map[string]any:
				v = x[name]
			case []any:
				i, err := strconv.Atoi(name)
				if err != nil || i >= len(x) {
					ts.Fatalf("%s: no item %s", args[1], name)
				}
				v = x[i]
			default:
				v = nil
			}
		}
	}
	got := visible(fmt.Sprint(v))
	if list, ok := v.([]any); ok && args[1] == "len" {
		got = strconv.Itoa(len(list))
	}
	if want := args[2]; (got == want) == neg {
		ts.Fatalf("%s is %q", args[1], got)
	}
}

// visibleCmd wants that the last output holds nothing that steers a terminal.
func visibleCmd(ts *testscript.TestScript, _ bool, _ []string) {
	for _, name := range []string{"stdout", "stderr"} {
		for _, r := range ts.ReadFile(name) {
			if r != '\n' && r != '\t' && hostile(r) {
				ts.Fatalf("%s holds %U", name, r)
			}
		}
	}
}

// TestScriptsCover finds commands and exit statuses that no script tries.
func TestScriptsCover(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	var all strings.Builder
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for _, c := range commands() {
		if !strings.Contains(all.String(), "bootpuckctl "+c.name) {
			t.Errorf("no script tries %q", c.name)
		}
	}
	for status := exitOK; status <= exitCritical; status++ {
		if !strings.Contains(all.String(), fmt.Sprintf("status %d bootpuckctl", status)) {
			t.Errorf("no script wants exit status %d", status)
		}
	}
}
