//! The part of TOML that `hosts.toml` is written in: tables, strings, booleans, whole numbers, arrays.
//!
//! What must stay true: what is not of this part is refused with its line, never guessed; the order of tables is kept, because it is the order of mirrors.
//!
//! # Source
//! TOML 1.0.0. Left out: dates, floats, inline tables, dotted keys, arrays of tables, multi-line strings.

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Number(i64),
    List(Vec<Value>),
}

/// A table by its path, with its keys in their order. The first is the nameless one at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) path: Vec<String>,
    pub(super) keys: Vec<(String, Value)>,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) reason: &'static str,
}

/// The tables of `text`.
pub(super) fn parse(text: &str) -> Result<Vec<Table>, Wrong> {
    let mut reader = Reader { text, at: 0 };
    let mut tables = vec![Table { path: Vec::new(), keys: Vec::new() }];
    loop {
        reader.skip_blank();
        match reader.peek() {
            None => return Ok(tables),
            Some('[') => {
                let path = reader.header()?;
                if tables.iter().any(|table| table.path == path) {
                    return Err(reader.wrong("this table was there before"));
                }
                tables.push(Table { path, keys: Vec::new() });
            }
            Some(_) => {
                let key = reader.key()?;
                reader.skip_spaces();
                reader.expect('=', "a key is followed by = and a value")?;
                reader.skip_spaces();
                let value = reader.value(0)?;
                let keys = tables.last_mut().map(|table| &mut table.keys);
                if let Some(keys) = keys {
                    if keys.iter().any(|(known, _)| *known == key) {
                        return Err(reader.wrong("this key was there before"));
                    }
                    keys.push((key, value));
                }
            }
        }
        reader.end_of_line()?;
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    fn wrong(&self, reason: &'static str) -> Wrong {
        Wrong { line: self.text[..self.at].matches('\n').count() + 1, reason }
    }

    fn expect(&mut self, wanted: char, reason: &'static str) -> Result<(), Wrong> {
        if self.peek() != Some(wanted) {
            return Err(self.wrong(reason));
        }
        self.at += wanted.len_utf8();
        Ok(())
    }

    fn skip_spaces(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
    }

    fn skip_comment(&mut self) {
        if self.peek() == Some('#') {
            self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
        }
    }

    /// Spaces, comments and line ends.
    fn skip_blank(&mut self) {
        loop {
            self.skip_spaces();
            self.skip_comment();
            match self.peek() {
                Some('\n' | '\r') => self.at += 1,
                _ => return,
            }
        }
    }

    fn end_of_line(&mut self) -> Result<(), Wrong> {
        self.skip_spaces();
        self.skip_comment();
        match self.peek() {
            None | Some('\n' | '\r') => Ok(()),
            Some(_) => Err(self.wrong("something stands behind the value")),
        }
    }

    fn header(&mut self) -> Result<Vec<String>, Wrong> {
        self.at += 1;
        if self.peek() == Some('[') {
            return Err(self.wrong("arrays of tables are not known here"));
        }
        let mut path = Vec::new();
        loop {
            self.skip_spaces();
            path.push(self.key()?);
            self.skip_spaces();
            match self.next() {
                Some('.') => {}
                Some(']') => return Ok(path),
                _ => return Err(self.wrong("a table's name ends with ]")),
            }
        }
    }

    fn key(&mut self) -> Result<String, Wrong> {
        if matches!(self.peek(), Some('"' | '\'')) {
            return self.string();
        }
        let rest = &self.text[self.at..];
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("a key is expected"));
        }
        let key = rest[..end].to_owned();
        self.at += end;
        Ok(key)
    }

    fn string(&mut self) -> Result<String, Wrong> {
        let quote = self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                None | Some('\n' | '\r') => return Err(self.wrong("a text does not end")),
                letter if letter == quote => return Ok(text),
                Some('\\') if quote == Some('"') => text.push(self.escaped()?),
                Some(letter) => text.push(letter),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, Wrong> {
        let digits = match self.next() {
            Some('n') => return Ok('\n'),
            Some('t') => return Ok('\t'),
            Some('r') => return Ok('\r'),
            Some(letter @ ('"' | '\\')) => return Ok(letter),
            Some('u') => 4,
            Some('U') => 8,
            _ => return Err(self.wrong("this escape is not known")),
        };
        let text = self.text.get(self.at..self.at + digits).ok_or_else(|| self.wrong("an escape ends too early"))?;
        let letter =
            u32::from_str_radix(text, 16).ok().and_then(char::from_u32).ok_or_else(|| self.wrong("this escape is no character"))?;
        self.at += digits;
        Ok(letter)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Wrong> {
        match self.peek() {
            Some('"' | '\'') => self.string().map(Value::Text),
            Some('[') if depth < 4 => self.list(depth),
            Some('{') => Err(self.wrong("inline tables are not known here")),
            _ => {
                let rest = &self.text[self.at..];
                let end = rest.find(|letter: char| letter.is_whitespace() || ",]#".contains(letter)).unwrap_or(rest.len());
                let value = match &rest[..end] {
                    "true" => Value::Flag(true),
                    "false" => Value::Flag(false),
                    word => Value::Number(word.replace('_', "").parse().map_err(|_| self.wrong("this is no value"))?),
                };
                self.at += end;
                Ok(value)
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Wrong> {
        self.at += 1;
        let mut values = Vec::new();
        loop {
            self.skip_blank();
            if self.peek() == Some(']') {
                self.at += 1;
                return Ok(Value::List(values));
            }
            values.push(self.value(depth + 1)?);
            self.skip_blank();
            match self.peek() {
                Some(',') => self.at += 1,
                Some(']') => {}
                _ => return Err(self.wrong("values of a list are separated by commas")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_file_is_read() {
        let text = "# mirrors\nserver = \"https://docker.io\"\n\n[host.\"https://a:5000/x\"]  # first\n  capabilities = [\"pull\", 'resolve',\n  ]\n  skip_verify=true\n  client = [[\"a.cert\",\"a.key\"]]\n[host.'https://b']\n[host.'https://b'.header]\n  x-a = \"\\u0041\\t\"\n";
        let tables = parse(text).unwrap();
        let list = |words: &[&str]| Value::List(words.iter().map(|word| Value::Text((*word).to_owned())).collect());
        assert_eq!(tables.len(), 4);
        assert_eq!(tables[0].keys, [("server".to_owned(), Value::Text("https://docker.io".to_owned()))]);
        assert_eq!(tables[1].path, ["host", "https://a:5000/x"]);
        assert_eq!(tables[1].keys[0].1, list(&["pull", "resolve"]));
        assert_eq!(tables[1].keys[1].1, Value::Flag(true));
        assert_eq!(tables[1].keys[2].1, Value::List(vec![list(&["a.cert", "a.key"])]));
        assert_eq!((tables[3].path.len(), &tables[3].keys[0].1), (3, &Value::Text("A\t".to_owned())));
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for (text, line) in [
            ("a = 1\na = 2", 2),
            ("[a]\n[a]", 2),
            ("\n\n[[a]]", 3),
            ("a = {b=1}", 1),
            ("a.b = 1", 1),
            ("a = \"x", 1),
            ("a = x", 1),
            ("a = [1 2]", 1),
            ("a = [[[[[[1]]]]]]", 1),
            ("a = \"\\q\"", 1),
            ("a = \"\\u12\u{fc}\"", 1),
            ("a = 1 b = 2", 1),
            ("= 1", 1),
            ("[a", 1),
            ("a = [", 1),
            ("a =", 1),
        ] {
            assert_eq!(parse(text).map_err(|wrong| wrong.line), Err(line), "{text}");
        }
    }
}
