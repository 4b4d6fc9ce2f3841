//! The words and signs that a text consists of.

use super::names::Name;

/// One token. White space and comments lie between tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    /// Whether white space or a comment stands before it.
    pub(crate) spaced: bool,
    /// Whether a line ends before it.
    pub(crate) new_line: bool,
    /// The word, the number, or the value of the string; for [`Kind::Illegal`] the number of its fault.
    pub(crate) name: Name,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    End,
    /// Not a token of Rego.
    Illegal,
    Identifier,
    Number,
    String,
    /// `$"…{`: a template string begins.
    TemplatePart,
    /// `$"…"`: a template string without expressions.
    TemplateEnd,
    /// `}…{`: an expression of a template string ends and another one begins.
    NextTemplatePart,
    /// `}…"`: the last expression of a template string ends.
    NextTemplateEnd,

    Package,
    Import,
    As,
    Default,
    Else,
    Not,
    Some,
    With,
    Null,
    True,
    False,
    In,
    Every,
    Contains,
    If,
    /// The word `and`, where it is a keyword.
    LogicalAnd,
    /// The word `or`, where it is a keyword.
    LogicalOr,

    LeftBracket,
    RightBracket,
    LeftBrace,
    RightBrace,
    LeftParenthesis,
    RightParenthesis,
    Comma,
    Colon,
    Dot,
    Semicolon,
    Plus,
    Minus,
    Times,
    Divide,
    Remainder,
    Ampersand,
    Bar,
    Unify,
    Assign,
    Equal,
    NotEqual,
    Less,
    Greater,
    AtMost,
    AtLeast,
}

impl Kind {
    /// Whether it is a word with a meaning of its own in Rego v1.
    pub(crate) fn is_keyword(self) -> bool {
        (Self::Package as u8..=Self::If as u8).contains(&(self as u8))
    }

    /// The keyword that a word is.
    pub(crate) fn of_word(word: Name) -> Self {
        match word {
            Name::PACKAGE => Self::Package,
            Name::IMPORT => Self::Import,
            Name::AS => Self::As,
            Name::DEFAULT => Self::Default,
            Name::ELSE => Self::Else,
            Name::NOT => Self::Not,
            Name::SOME => Self::Some,
            Name::WITH => Self::With,
            Name::NULL => Self::Null,
            Name::TRUE => Self::True,
            Name::FALSE => Self::False,
            Name::IN => Self::In,
            Name::EVERY => Self::Every,
            Name::CONTAINS => Self::Contains,
            Name::IF => Self::If,
            _ => Self::Identifier,
        }
    }

    /// The function that an operator calls.
    pub(crate) fn function(self) -> Option<Name> {
        Some(match self {
            Self::Plus => Name::PLUS,
            Self::Minus => Name::MINUS,
            Self::Times => Name::TIMES,
            Self::Divide => Name::DIVIDE,
            Self::Remainder => Name::REMAINDER,
            Self::Ampersand => Name::INTERSECTION,
            Self::Bar => Name::UNION,
            Self::Unify => Name::UNIFY,
            Self::Assign => Name::ASSIGN,
            Self::Equal => Name::EQUAL,
            Self::NotEqual => Name::NOT_EQUAL,
            Self::Less => Name::LESS,
            Self::Greater => Name::GREATER,
            Self::AtMost => Name::AT_MOST,
            Self::AtLeast => Name::AT_LEAST,
            _ => return None,
        })
    }

    /// How it is called in a message.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::End => "the end of the text",
            Self::Illegal => "a character that Rego does not have",
            Self::Identifier => "a name",
            Self::Number => "a number",
            Self::String => "a string",
            Self::TemplatePart | Self::TemplateEnd => "a template string",
            Self::NextTemplatePart | Self::NextTemplateEnd => "`}`",
            Self::Package => "the keyword `package`",
            Self::Import => "the keyword `import`",
            Self::As => "the keyword `as`",
            Self::Default => "the keyword `default`",
            Self::Else => "the keyword `else`",
            Self::Not => "the keyword `not`",
            Self::Some => "the keyword `some`",
            Self::With => "the keyword `with`",
            Self::Null => "`null`",
            Self::True => "`true`",
            Self::False => "`false`",
            Self::In => "the keyword `in`",
            Self::Every => "the keyword `every`",
            Self::Contains => "the keyword `contains`",
            Self::If => "the keyword `if`",
            Self::LogicalAnd => "the keyword `and`",
            Self::LogicalOr => "the keyword `or`",
            Self::LeftBracket => "`[`",
            Self::RightBracket => "`]`",
            Self::LeftBrace => "`{`",
            Self::RightBrace => "`}`",
            Self::LeftParenthesis => "`(`",
            Self::RightParenthesis => "`)`",
            Self::Comma => "`,`",
            Self::Colon => "`:`",
            Self::Dot => "`.`",
            Self::Semicolon => "`;`",
            Self::Plus => "`+`",
            Self::Minus => "`-`",
            Self::Times => "`*`",
            Self::Divide => "`/`",
            Self::Remainder => "`%`",
            Self::Ampersand => "`&`",
            Self::Bar => "`|`",
            Self::Unify => "`=`",
            Self::Assign => "`:=`",
            Self::Equal => "`==`",
            Self::NotEqual => "`!=`",
            Self::Less => "`<`",
            Self::Greater => "`>`",
            Self::AtMost => "`<=`",
            Self::AtLeast => "`>=`",
        }
    }
}
