// Command probe stands in for the product in tests of the image: it prepares the
// state directory the way the product does and answers questions about it on
// port 8080. It is never part of an image that is published.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/bootpuck/bootpuck/appliance/system"
)

// Report is the answer to GET /.
type Report struct {
	State    system.State
	Now      system.Reason // of a check made just now
	Size     int64         // bytes of the file system the state is on
	Free     int64
	ClockSet bool
	Version  string
	Gokrazy  bool
}

func main() {
	dir := flag.String("state", "/perm/bootpuck", "state directory")
	flag.Parse()
	err := run(*dir)
	fmt.Fprintln(system.Console(), "probe: stopped:", err)
	os.Exit(system.ExitStatus(false, err))
}

func run(dir string) error {
	log := slog.New(slog.NewTextHandler(system.Console(), nil))
	fmt.Fprintln(system.Console(), "probe: started")
	state, err := system.PrepareState(context.Background(), dir, log)
	if err != nil {
		return err
	}
	fmt.Fprintln(system.Console(), "probe: state", state.Reason, state.Detail)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		r := Report{State: state, ClockSet: system.ClockSet(time.Now()), Version: system.Version(), Gokrazy: system.OnGokrazy()}
		r.Now, _ = state.Check()
		var st syscall.Statfs_t
		if err := syscall.Statfs(state.Dir, &st); err == nil {
			r.Size, r.Free = int64(st.Blocks)*st.Bsize, int64(st.Bavail)*st.Bsize
		}
		if err := json.NewEncoder(w).Encode(r); err != nil {
			log.Error("answer", "error", err)
		}
	})
	mux.HandleFunc("GET /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(state.Dir, filepath.Base(r.PathValue("name"))))
	})
	mux.HandleFunc("PUT /file/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := save(filepath.Join(state.Dir, filepath.Base(r.PathValue("name"))), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInsufficientStorage)
		}
	})
	l, err := net.Listen("tcp", ":8080")
	if err != nil {
		return err
	}
	fmt.Fprintln(system.Console(), "probe: listening")
	return http.Serve(l, mux)
}

// save writes a file and returns when it and its name are on the medium.
func save(name string, r io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
