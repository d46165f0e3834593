// Go's net/http as its documentation starts: what ADDRESS THREADS say, twelve bytes, after WAIT_MS milliseconds.
package main

import (
	"io"
	"log"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"time"
)

func main() {
	threads, err := strconv.Atoi(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	runtime.GOMAXPROCS(threads)
	wait, _ := strconv.Atoi(os.Getenv("WAIT_MS"))
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if wait > 0 {
			time.Sleep(time.Duration(wait) * time.Millisecond)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "hello world!")
	})
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}
