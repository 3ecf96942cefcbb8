package bootweb_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/bootpuck/bootpuck/appliance/bootweb"
)

const query = "/s?mac=52:54:00:12:34:56&uuid=01234567-89ab-cdef-0123-456789abcdef&ip=192.0.2.50&netmask=255.255.255.0&gateway=192.0.2.1" +
	"&dns=192.0.2.3&domain=&filename=x86_64/snponly.efi&next-server=192.0.2.2&hostname=&user-class=bootpuck&manufacturer=QEMU" +
	"&product=Standard%20PC%20(Q35%20+%20ICH9,%202009)&serial=&asset=&platform=efi&buildarch=x86_64&version=2.0.0+dfsg-5" +
	"&memory=&dimms=0002.......&spans=00000000ffff0700...&secureboot=00"

// BenchmarkScript is a whole request for the machine's script over loopback;
// BenchmarkPlain is net/http's own file server with a file of that size.
func BenchmarkScript(b *testing.B) {
	s, _ := start(b, bootweb.Config{})
	benchGet(b, s.Addr().String(), query)
}

func BenchmarkBootScript(b *testing.B) {
	s, _ := start(b, bootweb.Config{})
	benchGet(b, s.Addr().String(), "/b")
}

func BenchmarkPlain(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s.txt"), make([]byte, 2300), 0o644); err != nil {
		b.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.FileServer(http.Dir(dir))}
	go srv.Serve(ln)
	defer srv.Close()
	benchGet(b, ln.Addr().String(), "/s.txt")
}

func benchGet(b *testing.B, addr, path string) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	r := bufio.NewReader(nc)
	req := []byte("GET " + path + " HTTP/1.1\r\nHost: box\r\nUser-Agent: iPXE/2.0.0\r\n\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := nc.Write(req); err != nil {
			b.Fatal(err)
		}
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if resp.StatusCode != 200 {
			b.Fatal(resp.Status)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
	}
}
