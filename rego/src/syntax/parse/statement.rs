//! `package` and `import`.

use super::{
    super::{
        ast::{Import, TermId, Value},
        module::Package,
        names::Name,
        token::Kind,
    },
    Parser,
};
use crate::capabilities::{Capabilities, Feature};

impl Parser<'_> {
    /// Whether the keyword begins a reference, as in `import.x`.
    fn statement_is_reference(&self) -> bool {
        let next = self.token_at(self.at + 1);
        !next.spaced && matches!(next.kind, Kind::Dot | Kind::LeftBracket)
    }

    /// Makes the current word a name if it may begin a path.
    fn path_begins(&mut self) -> bool {
        let word = self.kind == Kind::Identifier || self.is_reference_keyword();
        match word {
            true => self.kind = Kind::Identifier,
            false => self.unexpected("a path"),
        }
        word
    }

    pub(super) fn package(&mut self) -> Option<Package> {
        let at = self.offset();
        if self.statement_is_reference() {
            return None;
        }
        self.advance();
        if !self.path_begins() {
            return None;
        }
        let term = self.read_term()?;
        let path = match self.value_of(term) {
            Value::Var(name) => vec![name],
            Value::Ref(path) => {
                let steps = self.tree.terms(path).to_vec();
                self.names_of(&steps, "the name of a package")?
            }
            _ => {
                self.error(self.term_of(term).at.0, "the name of a package is a path of names");
                return None;
            }
        };
        Some(Package { path, at })
    }

    /// The names of a path: a variable, then strings.
    fn names_of(&mut self, steps: &[TermId], what: &str) -> Option<Vec<Name>> {
        let mut names = Vec::with_capacity(steps.len());
        for (index, &step) in steps.iter().enumerate() {
            match (index, self.value_of(step)) {
                (0, Value::Var(name)) | (1.., Value::String(name)) => names.push(name),
                _ => {
                    self.error(self.term_of(step).at.0, format!("{what} has a step that is not a name"));
                    return None;
                }
            }
        }
        Some(names)
    }

    pub(super) fn import(&mut self) -> Option<Import> {
        let at = self.offset();
        if self.statement_is_reference() {
            return None;
        }
        self.advance();
        if !self.path_begins() {
            return None;
        }
        // In a path the later keywords are names: `import future.keywords.in`.
        self.plain = true;
        let term = self.read_term();
        self.plain = false;
        self.kind = self.classify(self.token());
        let (path, names) = self.import_path(term)?;
        let path_at = self.term_of(path).at;
        if !matches!(names.first(), Some(&(Name::DATA | Name::INPUT | Name::FUTURE | Name::REGO))) {
            self.error(path_at.0, "an import begins with `data`, `input`, `rego` or `future`");
            return None;
        }
        if self.kind == Kind::As {
            let alias = self.alias()?;
            return Some(Import { path, alias: Some(alias), at });
        }
        let last = names.last().filter(|_| names.first() != Some(&Name::FUTURE));
        if let Some(&name) = last.filter(|&&name| Kind::of_word(name).is_keyword()) {
            let text = self.names.text(name).to_owned();
            self.error(path_at.0, format!("the import would be called `{text}`, which is a keyword"));
            self.suggest("give it another name by `as`");
        }
        Some(Import { path, alias: None, at })
    }

    fn import_path(&mut self, term: Option<TermId>) -> Option<(TermId, Vec<Name>)> {
        match term.map(|term| (term, self.value_of(term))) {
            Some((term, Value::Var(name))) => {
                let path = self.tree.add_terms(&[term]);
                let at = self.term_of(term).at;
                Some((self.term(Value::Ref(path), at)?, vec![name]))
            }
            Some((term, Value::Ref(path))) => {
                let steps = self.tree.terms(path).to_vec();
                Some((term, self.names_of(&steps, "an import")?))
            }
            _ => {
                if self.errors.is_empty() {
                    self.unexpected("a path after `import`");
                }
                None
            }
        }
    }

    fn alias(&mut self) -> Option<Name> {
        self.advance();
        let at = self.token().start;
        if self.kind != Kind::Identifier {
            self.unexpected("a name after `as`");
            return None;
        }
        let term = self.read_term()?;
        match self.value_of(term) {
            Value::Var(name) => Some(name),
            Value::Ref(path) if path.len() == 1 => {
                self.error(at, "an import cannot be called `data` or `input`");
                None
            }
            _ => {
                self.error(at, "the name after `as` is not one word");
                None
            }
        }
    }

    /// Makes keywords of what an import of `future` or `rego` says.
    pub(super) fn enable(&mut self, import: Import) {
        let Value::Ref(path) = self.value_of(import.path) else { return };
        let steps = self.tree.terms(path).to_vec();
        let names: Vec<_> = steps
            .iter()
            .filter_map(|&step| match self.value_of(step) {
                Value::Var(name) | Value::String(name) => Some(name),
                _ => None,
            })
            .collect();
        match names.as_slice() {
            [Name::REGO, ..] => self.enable_rego(&names, import),
            [Name::FUTURE, ..] => self.enable_future(&names, import),
            _ => return,
        }
        self.kind = self.classify(self.token());
    }

    fn enable_rego(&mut self, names: &[Name], import: Import) {
        let at = self.term_of(import.path).at.0;
        let second = match names {
            [_, Name::V1] => false,
            [_, Name::V2] => true,
            _ => {
                self.error(at, "of `rego` only `rego.v1` and `rego.v2` can be imported");
                return;
            }
        };
        if second && !self.language.rego_v2 {
            self.error(at, "`rego.v2` is newer than the OPA that this is checked for");
            self.suggest_version(Capabilities::first_with_feature(Feature::RegoV2Import));
            return;
        }
        if import.alias.is_some() {
            self.error(at, "an import of `rego` cannot have another name");
            return;
        }
        if second {
            (self.not_bodies, self.and_keyword, self.or_keyword) = (true, true, true);
        }
    }

    fn enable_future(&mut self, names: &[Name], import: Import) {
        let at = self.term_of(import.path).at.0;
        let keyword = match names {
            [_, Name::KEYWORDS] => None,
            [_, Name::KEYWORDS, keyword] => Some(*keyword),
            [_, Name::KEYWORDS, ..] => None,
            _ => {
                self.error(at, "of `future` only `future.keywords` can be imported");
                return;
            }
        };
        if import.alias.is_some() {
            self.error(at, "an import of `future` cannot have another name");
            return;
        }
        let language = self.language;
        match keyword {
            None => {
                self.not_bodies |= language.keyword_not && language.not_with_all_keywords;
                self.and_keyword |= language.keyword_and;
                self.or_keyword |= language.keyword_or;
            }
            Some(Name::IN | Name::EVERY | Name::CONTAINS | Name::IF) => {}
            Some(Name::NOT) if language.keyword_not => self.not_bodies = true,
            Some(Name::INTERSECTION) if language.keyword_and => self.and_keyword = true,
            Some(Name::UNION) if language.keyword_or => self.or_keyword = true,
            Some(keyword @ (Name::NOT | Name::INTERSECTION | Name::UNION)) => {
                self.error(at, "this keyword is newer than the OPA that this is checked for");
                self.suggest_version(Capabilities::first_with_future_keyword(match keyword {
                    Name::NOT => "not",
                    Name::INTERSECTION => "and",
                    _ => "or",
                }));
            }
            Some(_) => {
                self.error(at, "there is no such keyword");
                self.suggest("the keywords are `in`, `every`, `contains`, `if`, `not`, `and`, `or`");
            }
        }
    }
}
