// The web page of the gallery: shows the picture that the image service gives and reports each visit to the access log.
package main

import (
	"encoding/json"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"strings"
	"time"
)

type image struct {
	URL       template.URL `json:"url"`
	Caption   string       `json:"caption"`
	Copyright string       `json:"copyright"`
}

var client = http.Client{Timeout: 3 * time.Second}

func pictureOfTheDay() (image, error) {
	var picture image
	response, err := client.Get(os.Getenv("IMAGE_API_URL"))
	if err != nil {
		return picture, err
	}
	defer response.Body.Close()
	return picture, json.NewDecoder(response.Body).Decode(&picture)
}

func reportVisit(from string) {
	body := fmt.Sprintf(`{"clientIp":%q}`, from)
	response, err := client.Post(os.Getenv("ACCESS_API_URL"), "application/json", strings.NewReader(body))
	if err != nil {
		log.Printf("access log: %v", err)
		return
	}
	response.Body.Close()
}

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
		picture, err := pictureOfTheDay()
		if err != nil {
			log.Printf("image service: %v", err)
			picture.Caption = "The image service does not answer"
		}
		go reportVisit(r.RemoteAddr)
		if err := page.Execute(w, picture); err != nil {
			log.Printf("page: %v", err)
		}
	})
	log.Printf("gallery: listening on port %s", port)
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
