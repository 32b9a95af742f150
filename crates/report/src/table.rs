//! Tables as data: cells keep their type, renderers choose the digits.

use serde::{Deserialize, Serialize};

/// A table of a report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// Unique in the report, kebab-case.
    pub name: String,
    /// What a reader sees above it.
    pub title: String,
    /// Column heads; units belong here.
    pub columns: Vec<String>,
    /// One cell a column in each row.
    pub rows: Vec<Vec<Cell>>,
    /// How to read it and what it cannot tell; may be empty.
    pub note: String,
    /// For each row the name of the table from which its numbers come, empty where there is none; or nothing at all.
    pub links: Vec<String>,
}

impl Table {
    /// An empty table.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        title: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        let columns = columns.into_iter().map(Into::into).collect();
        Self { name: name.into(), title: title.into(), columns, ..Self::default() }
    }

    /// The same table with one more row.
    #[must_use]
    pub fn row(mut self, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.push(cells);
        self
    }

    /// Appends a row.
    pub fn push(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Appends a row whose numbers come from another table of the report.
    pub fn push_linked(&mut self, cells: impl IntoIterator<Item = Cell>, table: impl Into<String>) {
        self.links.resize(self.rows.len(), String::new());
        self.links.push(table.into());
        self.push(cells);
    }

    /// The same table with a note below it.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// One cell: bare values in JSON, `null` for [`Cell::Empty`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// A count or an index.
    Int(i64),
    /// A measured number; finite.
    Number(f64),
    /// Words.
    Text(String),
    /// Nothing was measured here.
    #[default]
    Empty,
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Self::Number(f64::from(value))
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<u32> for Cell {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        i64::try_from(value).map_or(Self::Number(value as f64), Self::Int)
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Number(value as f64), Self::Int)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_bare_values_in_json_and_come_back() {
        let cells = vec![Cell::from("a"), 1.5.into(), 3_usize.into(), None::<f64>.into(), 2.0.into()];
        let text = serde_json::to_string(&cells).expect("writes");
        assert_eq!(text, r#"["a",1.5,3,null,2.0]"#);
        assert_eq!(serde_json::from_str::<Vec<Cell>>(&text).expect("reads"), cells);
    }
}
