//! `--set KEY=VALUE`: one value of a recipe, said on the command line.

use super::RecipeError;
use toml::{Table, Value};

/// Sets one value of a table: `a.b=3`. Numbers in a path index arrays: `views.0.size_px=96`.
///
/// The value is read as TOML (`3`, `true`, `[1, 20]`, `{ kind = "cosine" }`), else as a string. Tables on the way are
/// created; a key that the recipe does not know is found by [`from_table`](super::from_table).
///
/// # Errors
/// [`RecipeError::Setting`] when this is not `KEY=VALUE`, or the path goes through something that is not a table.
pub fn set(table: &mut Table, key_value: &str) -> Result<(), RecipeError> {
    let refuse = |problem: String| RecipeError::Setting { setting: key_value.to_owned(), problem };
    let Some((key, value)) = key_value.split_once('=') else {
        return Err(refuse("expected KEY=VALUE, found no `=`".to_owned()));
    };
    let keys: Vec<&str> = key.split('.').map(str::trim).collect();
    if keys.iter().any(|part| part.is_empty()) {
        return Err(refuse(format!("expected a key like `a.b`, found `{}`", key.trim())));
    }
    let (first, rest) = (keys[0], &keys[1..]);
    if rest.is_empty() {
        table.insert(first.to_owned(), parse(value));
        return Ok(());
    }
    let mut here = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    for (depth, part) in rest.iter().enumerate() {
        let path = keys[..=depth].join(".");
        let is_last = depth + 1 == rest.len();
        here = match here {
            Value::Table(inner) => inner.entry(*part).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(items) => {
                let n_items = items.len();
                let idx = part.parse::<usize>();
                let example = match idx {
                    Err(_) if n_items > 0 => format!(", such as `{path}.0.{}`", keys[depth + 1..].join(".")),
                    _ => String::new(),
                };
                let item = idx.ok().and_then(|idx| items.get_mut(idx));
                item.ok_or_else(|| {
                    let expected = format!("an index below {n_items} after `{path}`{example}");
                    refuse(format!("expected {expected}; found `{part}`"))
                })?
            }
            other => {
                let found = other.type_str();
                return Err(refuse(format!("expected a table at `{path}`, found a value of type {found}")));
            }
        };
        if is_last {
            *here = parse(value);
            break;
        }
    }
    Ok(())
}

/// The text as one TOML value, else as the string that it is.
fn parse(text: &str) -> Value {
    let text = text.trim();
    let document = format!("value = {text}\n").parse::<Table>();
    let as_toml = document.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    as_toml.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn after(text: &str, setting: &str) -> Result<String, String> {
        let mut table: Table = text.parse().expect("test TOML");
        set(&mut table, setting).map_err(|error| error.to_string())?;
        Ok(toml::to_string(&table).expect("writes").trim().to_owned())
    }

    #[test]
    fn values_are_toml_first_and_strings_otherwise() {
        for (setting, expected) in [
            ("a=3", "a = 3"),
            ("a = 1e-3", "a = 0.001"),
            ("a=true", "a = true"),
            ("a=[1, 20]", "a = [1, 20]"),
            ("a=mae-part-shapes", "a = \"mae-part-shapes\""),
            ("a=\"3\"", "a = \"3\""),
            ("a=x=y", "a = \"x=y\""),
            ("a=", "a = \"\""),
        ] {
            assert_eq!(after("", setting).as_deref(), Ok(expected), "{setting}");
        }
        assert_eq!(parse("3\nb = 4"), Value::String("3\nb = 4".to_owned()));
    }

    #[test]
    fn paths_go_through_tables_and_arrays_and_create_tables() {
        assert_eq!(after("[a]\nb = 1", "a.b=2").as_deref(), Ok("[a]\nb = 2"));
        assert_eq!(after("", "a.b=2").as_deref(), Ok("[a]\nb = 2"));
        assert_eq!(after("v = [1, 2]", "v.1=5").as_deref(), Ok("v = [1, 5]"));
        assert_eq!(after("[[v]]\nn = 1", "v.0.n=7").as_deref(), Ok("[[v]]\nn = 7"));
    }

    #[test]
    fn what_cannot_be_set_says_why() {
        insta::assert_snapshot!(after("", "a").expect_err("refused"), @"--set a: expected KEY=VALUE, found no `=`");
        insta::assert_snapshot!(after("", "a..b=1").expect_err("refused"), @"--set a..b=1: expected a key like `a.b`, found `a..b`");
        insta::assert_snapshot!(after("a = 3", "a.b=1").expect_err("refused"), @"--set a.b=1: expected a table at `a`, found a value of type integer");
        insta::assert_snapshot!(after("v = [1]", "v.4=1").expect_err("refused"), @"--set v.4=1: expected an index below 1 after `v`; found `4`");
        insta::assert_snapshot!(after("[[v]]\nn = 1", "v.n=1").expect_err("refused"), @"--set v.n=1: expected an index below 1 after `v`, such as `v.0.n`; found `n`");
    }

    proptest! {
        #[test]
        fn any_setting_is_set_or_refused_without_a_panic(setting in "[ -~\\n]{0,24}") {
            let mut table = Table::new();
            if set(&mut table, &setting).is_ok() {
                prop_assert_eq!(table.len(), 1);
            }
        }
    }
}
