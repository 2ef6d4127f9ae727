//! Tokens into nodes.

use super::lexer::{Kind, Token, error};

/// A piece of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If { pipeline: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { pipeline: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { pipeline: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// Commands joined by `|`, with the variables they set.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    pub(super) declares: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or field with its arguments, or a single operand.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

/// One operand and where it starts.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    pub(super) what: What,
    /// `.a.b` written directly behind it.
    pub(super) chain: Vec<String>,
    pub(super) at: usize,
}

/// Kinds of operands.
#[derive(Debug, Clone)]
pub(super) enum What {
    Dot,
    Variable(String),
    Function(String),
    Text(String),
    Number(String),
    Truth(bool),
    Nil,
    Group(Box<Pipeline>),
}

/// How deep templates may nest; docker's never pass five.
const DEEPEST: usize = 64;

/// Parses all tokens.
pub(super) fn parse(tokens: &[Token], source: &str) -> Result<Vec<Node>, String> {
    let mut parser = Parser { tokens, at: 0, source, depth: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        Stop::Source => Ok(nodes),
        Stop::End => Err(parser.wrong("unexpected {{end}}")),
        Stop::Else => Err(parser.wrong("unexpected {{else}}")),
    }
}

/// What a list of nodes ended at.
enum Stop {
    Source,
    End,
    Else,
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    source: &'a str,
    depth: usize,
}

impl Parser<'_> {
    fn wrong(&self, message: &str) -> String {
        let at = self.tokens.get(self.at.min(self.tokens.len().saturating_sub(1))).map_or(0, |token| token.at);
        error(self.source, at, message)
    }

    fn kind(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn word(&self) -> &str {
        match self.kind() {
            Some(Kind::Word(word)) => word,
            _ => "",
        }
    }

    fn close(&mut self, context: &str) -> Result<(), String> {
        if self.kind() == Some(&Kind::Close) {
            self.at += 1;
            return Ok(());
        }
        Err(self.wrong(&format!("unexpected token in {context}")))
    }

    fn list(&mut self) -> Result<(Vec<Node>, Stop), String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("template nests too deep"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.kind() {
                None => break Stop::Source,
                Some(Kind::Text(text)) => {
                    nodes.push(Node::Text(text.clone()));
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    match self.word() {
                        "end" => {
                            self.at += 1;
                            self.close("end")?;
                            break Stop::End;
                        }
                        "else" => {
                            self.at += 1;
                            break Stop::Else;
                        }
                        _ => nodes.push(self.action()?),
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn action(&mut self) -> Result<Node, String> {
        let keyword = self.word().to_owned();
        if !matches!(keyword.as_str(), "if" | "with" | "range" | "break" | "continue" | "define" | "template" | "block") {
            let pipeline = self.pipeline()?;
            self.close("command")?;
            return Ok(Node::Action(pipeline));
        }
        self.at += 1;
        match keyword.as_str() {
            "break" => self.close("break").map(|()| Node::Break),
            "continue" => self.close("continue").map(|()| Node::Continue),
            "if" | "with" | "range" => self.block(&keyword),
            other => Err(self.wrong(&format!("{other} is not supported yet"))),
        }
    }

    /// Everything of a block after its keyword, up to its `end`.
    fn block(&mut self, keyword: &str) -> Result<Node, String> {
        let pipeline = self.pipeline()?;
        self.close(keyword)?;
        let (then, end) = self.list()?;
        let otherwise = match end {
            Stop::End => Vec::new(),
            Stop::Source => return Err(self.wrong("unexpected EOF")),
            Stop::Else => {
                let next = self.word().to_owned();
                if next == "if" || next == "with" {
                    self.at += 1;
                    vec![self.block(&next)?]
                } else {
                    self.close("else")?;
                    let (otherwise, end) = self.list()?;
                    match end {
                        Stop::End => otherwise,
                        Stop::Else => return Err(self.wrong("expected end; found {{else}}")),
                        Stop::Source => return Err(self.wrong("unexpected EOF")),
                    }
                }
            }
        };
        Ok(match keyword {
            "if" => Node::If { pipeline, then, otherwise },
            "with" => Node::With { pipeline, then, otherwise },
            _ => Node::Range { pipeline, body: then, otherwise },
        })
    }

    fn pipeline(&mut self) -> Result<Pipeline, String> {
        let (variables, declares) = self.variables();
        let mut commands = Vec::new();
        loop {
            commands.push(self.command()?);
            if self.kind() == Some(&Kind::Pipe) {
                self.at += 1;
            } else {
                break;
            }
        }
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$a :=`, `$a, $b :=` or `$a =` when the next tokens are that.
    fn variables(&mut self) -> (Vec<String>, bool) {
        let mut names = Vec::new();
        let mut at = self.at;
        while let Some(Kind::Variable(name)) = self.tokens.get(at).map(|token| &token.kind) {
            names.push(name.clone());
            match self.tokens.get(at + 1).map(|token| &token.kind) {
                Some(Kind::Comma) if names.len() == 1 => at += 2,
                Some(kind @ (Kind::Declare | Kind::Assign)) => {
                    self.at = at + 2;
                    return (names, *kind == Kind::Declare);
                }
                _ => break,
            }
        }
        (Vec::new(), false)
    }

    fn command(&mut self) -> Result<Command, String> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        if operands.is_empty() {
            return Err(self.wrong("missing value for command"));
        }
        Ok(Command { operands })
    }

    fn operand(&mut self) -> Result<Option<Operand>, String> {
        let Some(token) = self.tokens.get(self.at) else { return Err(self.wrong("unclosed action")) };
        let at = token.at;
        let mut chain = Vec::new();
        let what = match &token.kind {
            Kind::Field(name, _) => {
                if !name.is_empty() {
                    chain.push(name.clone());
                }
                What::Dot
            }
            Kind::Variable(name) => What::Variable(name.clone()),
            Kind::Word(word) => match word.as_str() {
                "true" => What::Truth(true),
                "false" => What::Truth(false),
                "nil" => What::Nil,
                name if super::functions::is_known(name) => What::Function(name.to_owned()),
                name => return Err(self.wrong(&format!("function {name:?} not defined"))),
            },
            Kind::Quoted(text) => What::Text(text.clone()),
            Kind::Number(number) => What::Number(number.clone()),
            Kind::Left => {
                self.at += 1;
                self.depth += 1;
                if self.depth > DEEPEST {
                    return Err(self.wrong("template nests too deep"));
                }
                let pipeline = self.pipeline()?;
                self.depth -= 1;
                if self.kind() != Some(&Kind::Right) {
                    return Err(self.wrong("unclosed left paren"));
                }
                What::Group(Box::new(pipeline))
            }
            _ => return Ok(None),
        };
        self.at += 1;
        while let Some(Kind::Field(name, true)) = self.kind() {
            if name.is_empty() {
                break;
            }
            chain.push(name.clone());
            self.at += 1;
        }
        Ok(Some(Operand { what, chain, at }))
    }
}
