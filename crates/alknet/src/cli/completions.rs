//! `alknet completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::failure::Failure;

/// Print the completions for a shell
///
/// In bash, zsh and fish the addresses of `alknet fs` complete too, as the running node knows them.
///
/// Examples:
///   alknet completions bash > ~/.local/share/bash-completion/completions/alknet
///   alknet completions zsh > ~/.zfunc/_alknet
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "alknet", &mut script);
        output::line(with_addresses(self.shell, String::from_utf8_lossy(&script).trim_end()))
    }
}

/// A script that also asks the node what an address may be.
fn with_addresses(shell: Shell, script: &str) -> String {
    match shell {
        Shell::Bash => format!("{script}\n{BASH}"),
        Shell::Fish => format!("{script}\n{FISH}"),
        // What zsh loads by itself calls the function at its end.
        Shell::Zsh => {
            let own = ZSH.replace("@SCRIPT@", "_alknet");
            let first = script.replacen("#compdef alknet", &format!("#compdef alknet\n{own}"), 1);
            first
                .replace("    _alknet \"$@\"", "    _alknet_or_addresses \"$@\"")
                .replace("compdef _alknet alknet", "compdef _alknet_or_addresses alknet")
        }
        _ => script.to_owned(),
    }
}

/// Bash parts words where an address may have a `:`, `@` or `=`: what is completed begins behind the last of them, or with it if it is
/// a `@`, at which bash would complete the names of hosts.
const BASH: &str = r#"
_alknet_or_addresses() {
    local word=${COMP_LINE:0:COMP_POINT}
    word=${word##* }
    if [[ ${COMP_WORDS[1]} == fs && $COMP_CWORD -gt 2 && $word != -* && $word != /* && $word != ./* && $word != ../* ]]; then
        local candidates
        mapfile -t candidates < <(alknet fs complete "$word" 2>/dev/null)
        local breaks= break part=
        for break in : @ =; do [[ $COMP_WORDBREAKS == *$break* ]] && breaks+=$break; done
        [[ -n $breaks ]] && part=${word%"${word##*[$breaks]}"}
        COMPREPLY=("${candidates[@]#"${part%@}"}")
        compopt -o nospace
        [[ $word == *@* ]] && compopt +o bashdefault +o default
        [[ ${#COMPREPLY[@]} -gt 0 || $word == *@* ]] && return
    fi
    _alknet "$@"
}
complete -F _alknet_or_addresses -o nosort -o bashdefault -o default alknet"#;

const ZSH: &str = r#"
_alknet_or_addresses() {
    local word=$words[CURRENT]
    if [[ $words[2] == fs && $CURRENT -gt 3 && $word != -* && $word != /* && $word != ./* && $word != ../* ]]; then
        local -a candidates
        candidates=(${(f)"$(alknet fs complete "$word" 2>/dev/null)"})
        (( $#candidates )) && compadd -S '' -- $candidates && return
    fi
    @SCRIPT@ "$@"
}
"#;

const FISH: &str = r#"
complete -c alknet -n "__fish_seen_subcommand_from fs; and not string match -qr '^(-|/|\./|\.\./)' -- (commandline -ct)" -f -a "(alknet fs complete (commandline -ct) 2>/dev/null)""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_script_asks_for_addresses() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "alknet", &mut script);
            let script = with_addresses(shell, &String::from_utf8(script).unwrap());
            assert!(script.contains("alknet fs complete"), "{shell}");
            if shell == Shell::Zsh {
                assert!(script.starts_with("#compdef alknet\n"));
                assert!(script.contains("compdef _alknet_or_addresses alknet"), "{script}");
                assert!(script.contains("    _alknet_or_addresses \"$@\"\nelse"));
            }
        }
    }
}
