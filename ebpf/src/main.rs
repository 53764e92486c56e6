//! Fairway's kernel programs. Entry points by hook, stages by noun: a hook reads as the list of its stages.
#![no_std]
#![no_main]

mod fields;
mod frame;
mod hooks;
mod ip;
mod maps;
mod object;
mod packet;
mod settings;
mod stage;
