// Command probe stands in for the product in tests of the image itself.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	c, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err == nil {
		fmt.Fprintln(c, "PROBE: started")
	}
	if err := http.ListenAndServe(":8080", http.NotFoundHandler()); err != nil {
		os.Exit(1)
	}
}
