//! A plain text table: columns as wide as their widest cell, two spaces apart.

/// Lays `rows` out under `head`.
pub(crate) fn layout<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut all: Vec<[&str; N]> = vec![head];
    all.extend(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    let mut lines: Vec<String> = vec![String::new(); all.len()];
    for column in 0..N {
        let cells: Vec<&str> = all.iter().filter_map(|row| row.get(column).copied()).collect();
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        for (line, cell) in lines.iter_mut().zip(cells) {
            line.push_str(&format!("{cell:<width$}  "));
        }
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["gw-a".to_owned(), "é".to_owned()], ["b".to_owned(), "primary".to_owned()]];
        assert_eq!(layout(["id", "role"], &rows), "id    role\ngw-a  é\nb     primary");
    }

    #[test]
    fn a_table_without_rows_is_its_head() {
        assert_eq!(layout(["id", "role"], &[]), "id  role");
    }
}
