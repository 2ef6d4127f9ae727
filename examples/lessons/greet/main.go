// Greets people in the language they ask for.
package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli"
)

func main() {
	app := cli.NewApp()
	app.Name = "greet"
	app.Usage = "greets people"
	app.Flags = []cli.Flag{
		cli.StringFlag{Name: "lang, l", Value: "en", Usage: "language of the greeting: en, es, ko"},
	}
	app.Action = func(c *cli.Context) error {
		words := map[string]string{"en": "Hello", "es": "Hola", "ko": "안녕하세요"}
		word, known := words[c.String("lang")]
		if !known {
			return cli.NewExitError("greet: no greeting in "+c.String("lang"), 2)
		}
		name := c.Args().First()
		if name == "" {
			name = "someone"
		}
		fmt.Println(word, name)
		return nil
	}
	if err := app.Run(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
