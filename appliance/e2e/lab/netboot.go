package lab

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteNetbootArchive makes a netboot.tar.gz as Debian publishes it, links and
// all, out of the installed package debian-installer-12-netboot-amd64.
func WriteNetbootArchive(file string) error {
	root := filepath.Join(installerDir, "amd64/text")
	return writeGzip(file, func(w io.Writer) error {
		out := tar.NewWriter(w)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			link := ""
			if info.Mode()&fs.ModeSymlink != 0 {
				if link, err = os.Readlink(path); err != nil {
					return err
				}
			}
			h, err := tar.FileInfoHeader(info, link)
			if err != nil {
				return err
			}
			h.Name = "./" + filepath.ToSlash(rel)
			switch {
			case rel == ".":
				h.Name = "./"
			case d.IsDir():
				h.Name += "/"
			}
			h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "root", "root"
			if err := out.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
				return err
			}
			in, err := os.Open(path)
			if err != nil {
				return err
			}
			_, err = io.Copy(out, in)
			return errors.Join(err, in.Close())
		})
		return errors.Join(err, out.Close())
	})
}

// Tshark lists a capture with tshark, whose filter and fields are given as its
// own arguments: what an independent program makes of the exchange. It needs the
// package tshark.
func Tshark(ctx context.Context, capture string, args ...string) (string, error) {
	out, err := output(ctx, "", "tshark", append([]string{"-n", "-r", capture}, args...)...)
	if err != nil {
		return "", fmt.Errorf("list %s: %w", capture, err)
	}
	return out, nil
}
