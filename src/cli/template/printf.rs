//! Go's `printf` verbs for `--format`: `%s %d %v %q %t %x %f %e %%` with flags, width and precision.

use serde_json::Value;

/// Formats `arguments` by `pattern`. Wrong verbs print Go's `%!d(string=x)` forms instead of failing.
pub(super) fn format(pattern: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut given = arguments.iter();
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = letters.next_if(|next| "-+# 0".contains(*next)) {
            flags.push(flag);
        }
        let width = digits(&mut letters);
        let precision = letters.next_if_eq(&'.').map(|_| digits(&mut letters).unwrap_or(0));
        let Some(verb) = letters.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = given.next() else {
            out.push_str(&format!("%!{verb}(MISSING)"));
            continue;
        };
        pad(&mut out, &one(verb, value, &flags, precision), &flags, width);
    }
    out
}

/// Widths past this are somebody's mistake.
const WIDEST: usize = 4096;

fn digits(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize - '0' as usize).min(WIDEST));
    }
    number
}

fn one(verb: char, value: &Value, flags: &str, precision: Option<usize>) -> String {
    let shown = match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plus = |number: String| if flags.contains('+') && !number.starts_with('-') { format!("+{number}") } else { number };
    match (verb, value) {
        ('s' | 'v', Value::String(text)) => precision.map_or_else(|| text.clone(), |most| text.chars().take(most).collect()),
        ('v', Value::Number(_)) => plus(shown),
        ('s' | 'v', _) => shown,
        ('q', _) => Value::String(shown).to_string(),
        ('d', Value::Number(number)) if !number.is_f64() => plus(shown),
        ('x', Value::Number(number)) => number.as_i64().map_or(shown, |number| format!("{number:x}")),
        ('x', Value::String(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('f' | 'F', Value::Number(number)) => plus(format!("{:.*}", precision.unwrap_or(6), number.as_f64().unwrap_or_default())),
        ('t', Value::Bool(_)) => shown,
        (verb, Value::String(text)) => format!("%!{verb}(string={text})"),
        (verb, Value::Number(number)) => format!("%!{verb}({}={number})", if number.is_f64() { "float64" } else { "int" }),
        (verb, _) => format!("%!{verb}({shown})"),
    }
}

fn pad(out: &mut String, text: &str, flags: &str, width: Option<usize>) {
    let missing = width.unwrap_or(0).saturating_sub(text.chars().count());
    if flags.contains('-') {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else {
        let zero = flags.contains('0') && text.starts_with(|letter: char| letter.is_ascii_digit());
        out.extend(std::iter::repeat_n(if zero { '0' } else { ' ' }, missing));
        out.push_str(text);
    }
}
