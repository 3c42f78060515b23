//! The plan of the way back: the same two databases the other way round. It copies nothing; what
//! its stream carries is found by turning around what the plan itself carries.

use super::{Plan, Which};

/// What the name of a way back ends with. No plan of a file is called so.
const SUFFIX: &str = "+back";

/// The name that slot, publication and state of a plan's way back go by.
pub fn back_name(plan: &str) -> String {
    format!("{plan}{SUFFIX}")
}

/// The plan that this is the way back of.
pub fn forward_name(back: &str) -> &str {
    back.strip_suffix(SUFFIX).unwrap_or(back)
}

impl Plan {
    /// The plan of the way back: source and target swapped, and the checks with them. No tables:
    /// they are those of the plan itself.
    pub fn turned_around(&self) -> Self {
        let mut turned = Self {
            name: back_name(&self.name),
            source: self.target.clone(),
            target: self.source.clone(),
            rules: Vec::new(),
            types: Vec::new(),
            accept: Vec::new(),
            reverse: None,
            ..self.clone()
        };
        for check in turned.cutover.iter_mut().flat_map(|cutover| &mut cutover.checks) {
            check.db = match check.db {
                Which::Source => Which::Target,
                Which::Target => Which::Source,
            };
        }
        turned
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Variables, resolve};

    const TEXT: &str = "version: 1\nname: shop\nsource: { url: \"postgres://a@one/x\" }\n\
        target: { url: \"postgres://a@two/x\", schema: app }\ntables: { \"*\": { cdc: true } }\nreverse: true\n\
        cutover: { checks: [{ db: target, sql: select 1 }, { db: source, sql: select 2 }] }\n";

    #[test]
    fn a_turned_plan_reads_the_target_and_cannot_be_turned_again() {
        let (plan, _) = resolve("p", TEXT.as_bytes(), &Variables::default()).expect("a good plan");
        assert!(plan.reverse.is_some());
        let back = plan.turned_around();
        assert_eq!((back.name.as_str(), &back.source.url), ("shop+back", &plan.target.url));
        assert_eq!((back.reverse, back.rules.len()), (None, 0));
        let ends: Vec<Which> = back.cutover.iter().flat_map(|c| &c.checks).map(|check| check.db).collect();
        assert_eq!(ends, [Which::Source, Which::Target]);
        let named = TEXT.replace("name: shop", "name: shop+back");
        resolve("p", named.as_bytes(), &Variables::default()).expect_err("no plan's name");
    }
}
