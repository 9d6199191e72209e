//! BIP39 mnemonics: words to write down, and the seed they stand for.

use std::borrow::Cow;
use std::fmt;

use zeroize::{Zeroize, Zeroizing};

use crate::limits::{MAX_PASSPHRASE_BYTES, MAX_PHRASE_BYTES};
use crate::random::{NoRandomness, fill_random};

/// The language of a word list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// The English list.
    English,
    /// The Japanese list; its phrases are printed with ideographic spaces, as BIP39 asks.
    Japanese,
}

impl Language {
    fn of_list(self) -> bip39::Language {
        match self {
            Self::English => bip39::Language::English,
            Self::Japanese => bip39::Language::Japanese,
        }
    }

    /// The language's name in a keystore.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::English => "english",
            Self::Japanese => "japanese",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::English, Self::Japanese].into_iter().find(|language| language.name() == name)
    }

    /// Guesses by script: the two lists share no word.
    fn of_phrase(phrase: &str) -> Self {
        match phrase.trim_start().chars().next() {
            Some(first) if !first.is_ascii() => Self::Japanese,
            _ => Self::English,
        }
    }

    fn separator(self) -> &'static str {
        match self {
            Self::English => " ",
            Self::Japanese => "\u{3000}",
        }
    }
}

/// How many words a mnemonic has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordCount {
    /// 12 words, 128 bits of entropy.
    Twelve,
    /// 15 words, 160 bits of entropy.
    Fifteen,
    /// 18 words, 192 bits of entropy.
    Eighteen,
    /// 21 words, 224 bits of entropy.
    TwentyOne,
    /// 24 words, 256 bits of entropy.
    TwentyFour,
}

impl WordCount {
    fn entropy_bytes(self) -> usize {
        match self {
            Self::Twelve => 16,
            Self::Fifteen => 20,
            Self::Eighteen => 24,
            Self::TwentyOne => 28,
            Self::TwentyFour => 32,
        }
    }
}

/// Why a phrase is not a mnemonic. Names positions and rules, never the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MnemonicError {
    /// The phrase is longer than any mnemonic.
    #[error("the phrase is longer than {MAX_PHRASE_BYTES} bytes")]
    TooLong,
    /// The number of words is not one that BIP39 knows.
    #[error("the phrase has {0} words; a mnemonic has 12, 15, 18, 21 or 24")]
    WordCount(usize),
    /// A word is not in the list.
    #[error("word {position} is not in the {language:?} word list")]
    UnknownWord {
        /// Which word, counted from 1.
        position: usize,
        /// The list that was searched.
        language: Language,
    },
    /// All words are known, but they do not belong together.
    #[error("the checksum in the last word does not match: a word is wrong or two are swapped")]
    Checksum,
    /// The entropy does not have a length that BIP39 knows.
    #[error("entropy of {0} bytes; a mnemonic has 16, 20, 24, 28 or 32")]
    EntropyLength(usize),
    /// The passphrase is too long.
    #[error("the passphrase of the mnemonic is longer than {MAX_PASSPHRASE_BYTES} bytes")]
    PassphraseTooLong,
}

/// A BIP39 mnemonic of 12 to 24 words. Zeroised when dropped; printing it with `Debug` shows no word.
///
/// ```
/// let mnemonic = alknet_vault::Mnemonic::parse(
///     "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about",
/// )?;
/// let seed = mnemonic.seed("")?;
/// assert_eq!(seed.as_bytes()[..4], [0x5e, 0xb0, 0x0b, 0xbd]);
/// # Ok::<(), alknet_vault::MnemonicError>(())
/// ```
pub struct Mnemonic {
    language: Language,
    words: bip39::Mnemonic,
}

impl Mnemonic {
    /// Generates an English mnemonic from the system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system has none to give.
    pub fn generate(count: WordCount) -> Result<Self, NoRandomness> {
        let mut entropy = Zeroizing::new([0u8; 32]);
        let entropy = &mut entropy[..count.entropy_bytes()];
        fill_random(entropy)?;
        Ok(Self::from_entropy(Language::English, entropy).expect("because WordCount has BIP39's entropy lengths"))
    }

    /// Makes the mnemonic of 16, 20, 24, 28 or 32 bytes of entropy.
    ///
    /// # Errors
    /// [`MnemonicError::EntropyLength`] for any other length.
    pub fn from_entropy(language: Language, entropy: &[u8]) -> Result<Self, MnemonicError> {
        let words = bip39::Mnemonic::from_entropy_in(language.of_list(), entropy)
            .map_err(|_| MnemonicError::EntropyLength(entropy.len()))?;
        Ok(Self { language, words })
    }

    /// Parses a phrase, English or Japanese by its script, words separated by any white space.
    ///
    /// # Errors
    /// [`MnemonicError`] naming the word's position or the rule that is broken.
    pub fn parse(phrase: &str) -> Result<Self, MnemonicError> {
        if phrase.len() > MAX_PHRASE_BYTES {
            return Err(MnemonicError::TooLong);
        }
        let language = Language::of_phrase(phrase);
        let normal = normalized(phrase);
        let words =
            bip39::Mnemonic::parse_in_normalized(language.of_list(), normal.as_str()).map_err(|error| match error {
                bip39::Error::BadWordCount(count) => MnemonicError::WordCount(count),
                bip39::Error::UnknownWord(index) => MnemonicError::UnknownWord { position: index + 1, language },
                _ => MnemonicError::Checksum,
            })?;
        Ok(Self { language, words })
    }

    /// The words as a person writes them down. The only way to get them; show it once.
    pub fn phrase(&self) -> Zeroizing<String> {
        let mut phrase = Zeroizing::new(String::with_capacity(MAX_PHRASE_BYTES));
        for (index, word) in self.words.words().enumerate() {
            if index > 0 {
                phrase.push_str(self.language.separator());
            }
            phrase.push_str(word);
        }
        phrase
    }

    /// The language of the words.
    pub fn language(&self) -> Language {
        self.language
    }

    /// How many words there are.
    pub fn word_count(&self) -> usize {
        self.words.word_count()
    }

    /// The entropy that the words encode: 16 to 32 bytes.
    pub(crate) fn entropy(&self) -> Zeroizing<Vec<u8>> {
        let (mut array, length) = self.words.to_entropy_array();
        let entropy = Zeroizing::new(array[..length].to_vec());
        array.zeroize();
        entropy
    }

    /// Stretches words and passphrase (empty for none) to the BIP39 seed: PBKDF2-HMAC-SHA512, 2,048 rounds, NFKD.
    ///
    /// # Errors
    /// [`MnemonicError::PassphraseTooLong`].
    pub fn seed(&self, passphrase: &str) -> Result<Seed, MnemonicError> {
        if passphrase.len() > MAX_PASSPHRASE_BYTES {
            return Err(MnemonicError::PassphraseTooLong);
        }
        let mut seed = self.words.to_seed_normalized(&normalized(passphrase));
        let kept = Seed(Zeroizing::new(seed));
        seed.zeroize();
        Ok(kept)
    }
}

impl fmt::Debug for Mnemonic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mnemonic({} {:?} words)", self.word_count(), self.language)
    }
}

/// The 64-byte seed of a mnemonic. Zeroised when dropped, and without `Debug`.
pub struct Seed(Zeroizing<[u8; 64]>);

impl Seed {
    /// The seed, for derivation.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// Unicode NFKD, in memory that is wiped.
pub(crate) fn normalized(text: &str) -> Zeroizing<String> {
    let mut normal = Cow::Borrowed(text);
    bip39::Mnemonic::normalize_utf8_cow(&mut normal);
    Zeroizing::new(normal.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_word() {
        let mnemonic = Mnemonic::from_entropy(Language::English, &[0; 16]).unwrap();
        assert_eq!(format!("{mnemonic:?}"), "Mnemonic(12 English words)");
    }

    #[test]
    fn generated_mnemonics_have_their_length_and_differ() {
        for (count, words) in [
            (WordCount::Twelve, 12),
            (WordCount::Fifteen, 15),
            (WordCount::Eighteen, 18),
            (WordCount::TwentyOne, 21),
            (WordCount::TwentyFour, 24),
        ] {
            let first = Mnemonic::generate(count).unwrap();
            let second = Mnemonic::generate(count).unwrap();
            assert_eq!(first.word_count(), words);
            assert_ne!(first.phrase(), second.phrase());
            assert_eq!(Mnemonic::parse(&first.phrase()).unwrap().entropy(), first.entropy());
        }
    }

    #[test]
    fn entropy_of_other_lengths_is_refused() {
        for length in [0, 15, 17, 31, 33, 64] {
            let error = Mnemonic::from_entropy(Language::English, &vec![7; length]).unwrap_err();
            assert_eq!(error, MnemonicError::EntropyLength(length));
        }
    }

    #[test]
    fn a_phrase_fits_the_room_that_is_kept_for_it() {
        let longest = Language::Japanese.of_list().word_list().iter().map(|word| word.len()).max().unwrap();
        assert!(24 * (longest + 3) <= MAX_PHRASE_BYTES);
    }
}
