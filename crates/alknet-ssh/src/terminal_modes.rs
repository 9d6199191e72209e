//! Encoded terminal modes (RFC 4254, 8, and RFC 8160) applied to a termios.

use russh::Pty as Code;
use rustix::termios::{ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex as Special, Termios};

/// Applies what the client sent; codes that this system has no notion of are left out.
pub(crate) fn apply(termios: &mut Termios, modes: &[(Code, u32)]) {
    for &(code, value) in modes {
        let on = value != 0;
        if let Some(index) = special(code) {
            // 255 means that the character is switched off, which is 0 here.
            termios.special_codes[index] = u8::try_from(value).ok().filter(|c| *c != 255).unwrap_or(0);
        } else if let Some(flag) = input(code) {
            termios.input_modes.set(flag, on);
        } else if let Some(flag) = local(code) {
            termios.local_modes.set(flag, on);
        } else if let Some(flag) = output(code) {
            termios.output_modes.set(flag, on);
        } else {
            control(termios, code, value);
        }
    }
}

/// The modes of a local terminal, encoded for a server; characters that are switched off are 255.
pub(crate) fn read(termios: &Termios) -> Vec<(Code, u32)> {
    let mut modes: Vec<_> = READ
        .iter()
        .filter_map(|&code| {
            let value = if let Some(index) = special(code) {
                match termios.special_codes[index] {
                    0 => 255,
                    character => u32::from(character),
                }
            } else if let Some(flag) = input(code) {
                u32::from(termios.input_modes.contains(flag))
            } else if let Some(flag) = local(code) {
                u32::from(termios.local_modes.contains(flag))
            } else {
                u32::from(termios.output_modes.contains(output(code)?))
            };
            Some((code, value))
        })
        .collect();
    modes.push((Code::TTY_OP_ISPEED, termios.input_speed()));
    modes.push((Code::TTY_OP_OSPEED, termios.output_speed()));
    modes
}

/// What is read of a terminal.
#[rustfmt::skip]
const READ: &[Code] = &[
    Code::VINTR, Code::VQUIT, Code::VERASE, Code::VKILL, Code::VEOF, Code::VEOL, Code::VEOL2, Code::VSTART, Code::VSTOP, Code::VSUSP,
    Code::VREPRINT, Code::VWERASE, Code::VLNEXT, Code::VDISCARD,
    Code::IGNPAR, Code::PARMRK, Code::INPCK, Code::ISTRIP, Code::INLCR, Code::IGNCR, Code::ICRNL, Code::IUCLC, Code::IXON, Code::IXANY,
    Code::IXOFF, Code::IMAXBEL, Code::IUTF8,
    Code::ISIG, Code::ICANON, Code::XCASE, Code::ECHO, Code::ECHOE, Code::ECHOK, Code::ECHONL, Code::NOFLSH, Code::TOSTOP, Code::IEXTEN,
    Code::ECHOCTL, Code::ECHOKE, Code::PENDIN,
    Code::OPOST, Code::OLCUC, Code::ONLCR, Code::OCRNL, Code::ONOCR, Code::ONLRET,
];

const fn special(code: Code) -> Option<Special> {
    Some(match code {
        Code::VINTR => Special::VINTR,
        Code::VQUIT => Special::VQUIT,
        Code::VERASE => Special::VERASE,
        Code::VKILL => Special::VKILL,
        Code::VEOF => Special::VEOF,
        Code::VEOL => Special::VEOL,
        Code::VEOL2 => Special::VEOL2,
        Code::VSTART => Special::VSTART,
        Code::VSTOP => Special::VSTOP,
        Code::VSUSP => Special::VSUSP,
        Code::VREPRINT => Special::VREPRINT,
        Code::VWERASE => Special::VWERASE,
        Code::VLNEXT => Special::VLNEXT,
        Code::VDISCARD => Special::VDISCARD,
        _ => return None,
    })
}

const fn input(code: Code) -> Option<InputModes> {
    Some(match code {
        Code::IGNPAR => InputModes::IGNPAR,
        Code::PARMRK => InputModes::PARMRK,
        Code::INPCK => InputModes::INPCK,
        Code::ISTRIP => InputModes::ISTRIP,
        Code::INLCR => InputModes::INLCR,
        Code::IGNCR => InputModes::IGNCR,
        Code::ICRNL => InputModes::ICRNL,
        Code::IUCLC => InputModes::IUCLC,
        Code::IXON => InputModes::IXON,
        Code::IXANY => InputModes::IXANY,
        Code::IXOFF => InputModes::IXOFF,
        Code::IMAXBEL => InputModes::IMAXBEL,
        Code::IUTF8 => InputModes::IUTF8,
        _ => return None,
    })
}

const fn local(code: Code) -> Option<LocalModes> {
    Some(match code {
        Code::ISIG => LocalModes::ISIG,
        Code::ICANON => LocalModes::ICANON,
        Code::XCASE => LocalModes::XCASE,
        Code::ECHO => LocalModes::ECHO,
        Code::ECHOE => LocalModes::ECHOE,
        Code::ECHOK => LocalModes::ECHOK,
        Code::ECHONL => LocalModes::ECHONL,
        Code::NOFLSH => LocalModes::NOFLSH,
        Code::TOSTOP => LocalModes::TOSTOP,
        Code::IEXTEN => LocalModes::IEXTEN,
        Code::ECHOCTL => LocalModes::ECHOCTL,
        Code::ECHOKE => LocalModes::ECHOKE,
        Code::PENDIN => LocalModes::PENDIN,
        _ => return None,
    })
}

const fn output(code: Code) -> Option<OutputModes> {
    Some(match code {
        Code::OPOST => OutputModes::OPOST,
        Code::OLCUC => OutputModes::OLCUC,
        Code::ONLCR => OutputModes::ONLCR,
        Code::OCRNL => OutputModes::OCRNL,
        Code::ONOCR => OutputModes::ONOCR,
        Code::ONLRET => OutputModes::ONLRET,
        _ => return None,
    })
}

fn control(termios: &mut Termios, code: Code, value: u32) {
    let on = value != 0;
    match code {
        Code::CS7 if on => {
            termios.control_modes.remove(ControlModes::CSIZE);
            termios.control_modes.insert(ControlModes::CS7);
        }
        Code::CS8 if on => {
            termios.control_modes.remove(ControlModes::CSIZE);
            termios.control_modes.insert(ControlModes::CS8);
        }
        Code::PARENB => termios.control_modes.set(ControlModes::PARENB, on),
        Code::PARODD => termios.control_modes.set(ControlModes::PARODD, on),
        // A speed that does not exist leaves the one that is there: nothing runs at it anyway.
        Code::TTY_OP_ISPEED => drop(termios.set_input_speed(value)),
        Code::TTY_OP_OSPEED => drop(termios.set_output_speed(value)),
        _ => {}
    }
}
