//! The claims in one small picture, for the README.

use super::Table;

/// As SVG: how many are met, of how many, over how many runs.
#[must_use]
pub fn svg(t: &Table) -> String {
    let (met, all) = (t.met(), t.rows.len());
    let colour = if met == all && all > 0 { "#1a7f37" } else { "#b26a00" };
    let (left, right) = ("claims", format!("{met} of {all} met, {} runs", t.runs));
    // Verdana at 11 pixels is about 6.6 wide a character.
    let width = |text: &str| text.chars().count() * 33 / 5 + 12;
    let (a, b) = (width(left), width(&right));
    let total = a + b;
    let (middle, end) = (a / 2, a + b / 2);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{total}\" height=\"20\" role=\"img\" aria-label=\"{left}: {right}\">\n\
         <title>{left}: {right}</title>\n\
         <rect width=\"{total}\" height=\"20\" rx=\"3\" fill=\"#555\"/>\n\
         <rect x=\"{a}\" width=\"{b}\" height=\"20\" rx=\"3\" fill=\"{colour}\"/>\n\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,sans-serif\" font-size=\"11\">\n\
         <text x=\"{middle}\" y=\"14\">{left}</text>\n\
         <text x=\"{end}\" y=\"14\">{right}</text>\n\
         </g>\n</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::tests::table;

    #[test]
    fn it_says_how_many_and_is_green_only_if_all_are() {
        let mut t = table();
        let some = svg(&t);
        assert!(some.contains(">3 of 4 met, 600 runs<") && some.contains("#b26a00"), "{some}");
        t.rows.retain(|r| r.met);
        assert!(svg(&t).contains("#1a7f37"));
        t.rows.clear();
        assert!(svg(&t).contains("#b26a00"), "nothing claimed is nothing to boast of");
    }
}
