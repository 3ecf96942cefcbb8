package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Server is what stands beside the router and makes machines boot: the box, in
// one of its forms, or something to compare it with.
type Server interface {
	// Form is the column in the results: "process", "image", "dnsmasq".
	Form() string
	// Start starts it on the site and returns when it answers. It ends with
	// the site.
	Start(ctx context.Context, s *Site) error
	// Admin is the base URL of its status page within the site, or empty.
	Admin() string
}

// Baseline is dnsmasq as the proxyDHCP and TFTP server with nginx for HTTP:
// what a site would do without the box.
type Baseline struct {
	Files   BootFiles
	Payload string // directory served by HTTP
}

// Form implements [Server].
func (*Baseline) Form() string { return "dnsmasq" }

// Admin implements [Server]: there is none.
func (*Baseline) Admin() string { return "" }

// Start implements [Server].
func (b *Baseline) Start(ctx context.Context, s *Site) error {
	return b.start(ctx, s, s.box, "baseline", BoxAddr)
}

func (b *Baseline) start(ctx context.Context, s *Site, ns *Namespace, name, addr string) error {
	if err := s.startNginx(ctx, ns, name, addr, b.Payload, b.Files); err != nil {
		return err
	}
	return s.startProxy(ctx, ns, name, addr, b.Files, b.Payload)
}

// proxyArgs is the command line of a dnsmasq in proxy mode that sends iPXE to
// the script's URL and HTTP Boot clients to files below httpBase.
func proxyArgs(addr, root, script, httpBase string, f BootFiles) []string {
	args := []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--port=0",
		"--interface=eth0", "--bind-interfaces", "--log-dhcp", "--log-facility=-",
		"--dhcp-range=" + addr + ",proxy,255.255.255.0",
		"--enable-tftp", "--tftp-root=" + root, "--tftp-no-fail",
		"--dhcp-match=set:ipxe,175",
	}
	service := func(arch, file string) {
		args = append(args, "--pxe-service=tag:!ipxe,"+arch+",network,"+file)
	}
	if f.Undionly != "" {
		service("x86PC", "undionly.kpxe")
	}
	if f.IPXEX64 != "" {
		service("X86-64_EFI", "ipxe-x64.efi")
		service("BC_EFI", "ipxe-x64.efi")
	}
	if f.IPXEARM64 != "" {
		service("ARM64_EFI", "ipxe-arm64.efi")
	}
	if f.GRUBIA32 != "" {
		service("IA32_EFI", "grubnetia32.efi")
	}
	for _, arch := range []string{"x86PC", "X86-64_EFI", "BC_EFI", "ARM64_EFI"} {
		args = append(args, "--pxe-service=tag:ipxe,"+arch+",script,"+script)
	}
	return append(args, "--dhcp-pxe-vendor=PXEClient,HTTPClient",
		"--dhcp-match=set:http64,option:client-arch,16", "--dhcp-boot=tag:http64,"+httpBase+"/ipxe-x64.efi",
		"--dhcp-match=set:httparm,option:client-arch,19", "--dhcp-boot=tag:httparm,"+httpBase+"/ipxe-arm64.efi")
}

func (s *Site) startProxy(ctx context.Context, ns *Namespace, name, addr string, f BootFiles, payload string) error {
	root := s.file(name + "-tftp")
	if err := linkBootFiles(root, f); err != nil {
		return err
	}
	base := "http://" + addr
	if err := copyFile(filepath.Join(payload, "grub/grub.cfg"), filepath.Join(root, "grub/grub.cfg")); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p, err := s.run(ns, name+"-dnsmasq", proxyArgs(addr, root, base+"/"+ScriptName, base, f)...)
	if err != nil {
		return err
	}
	return p.ready(ctx, "TFTP root is")
}

// linkBootFiles makes a directory with the boot programs under plain names.
func linkBootFiles(root string, f BootFiles) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for name, from := range map[string]string{
		"undionly.kpxe": f.Undionly, "ipxe-x64.efi": f.IPXEX64,
		"ipxe-arm64.efi": f.IPXEARM64, "grubnetia32.efi": f.GRUBIA32,
	} {
		if from == "" {
			continue
		}
		if err := copyFile(from, filepath.Join(root, name)); err != nil {
			return fmt.Errorf("boot files: %w", err)
		}
	}
	return nil
}

// startNginx serves a directory, and the boot programs beside it, on port 80.
func (s *Site) startNginx(ctx context.Context, ns *Namespace, name, addr, dir string, f BootFiles) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	boot := s.file(name + "-www")
	if err := linkBootFiles(boot, f); err != nil {
		return err
	}
	base := s.file(name + "-nginx")
	if err := os.MkdirAll(base, 0o755); err != nil {
		return err
	}
	conf := filepath.Join(base, "nginx.conf")
	if err := os.WriteFile(conf, []byte(nginxConfig(base, dir, boot)), 0o644); err != nil {
		return fmt.Errorf("nginx: %w", err)
	}
	if _, err := s.run(ns, name+"-nginx", "nginx", "-c", conf, "-p", base, "-e", "stderr"); err != nil {
		return err
	}
	return s.waitTCP(ctx, addr+":80")
}

func nginxConfig(base, dir, boot string) string {
	return `daemon off;
user root;
worker_processes 1;
pid ` + base + `/pid;
error_log stderr;
events { worker_connections 256; }
http {
  access_log off;
  sendfile on;
  default_type application/octet-stream;
  types { application/efi efi; text/plain ipxe cfg; }
  client_body_temp_path ` + base + `/body;
  proxy_temp_path ` + base + `/proxy;
  fastcgi_temp_path ` + base + `/fastcgi;
  uwsgi_temp_path ` + base + `/uwsgi;
  scgi_temp_path ` + base + `/scgi;
  server {
    listen 80;
    root ` + dir + `;
    location ~ \.efi$ { root ` + boot + `; }
    location /memtest/ { root ` + dir + `; }
  }
}
`
}

// waitTCP waits until something listens at the address within the site.
func (s *Site) waitTCP(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := s.Dial(ctx, "tcp4", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("nothing answers at %s: %w", addr, err)
		}
	}
}
