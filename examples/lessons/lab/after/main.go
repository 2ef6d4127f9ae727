// The chapter's lab: a web page with a name on it.
package main

import (
	"html/template"
	"log"
	"net/http"
	"os"
)

func main() {
	page, err := template.ParseFiles("index.html")
	if err != nil {
		log.Fatal(err)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "80"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if err := page.Execute(w, os.Getenv("USER")); err != nil {
			log.Printf("page: %v", err)
		}
	})
	log.Printf("lab: listening on port %s", port)
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
