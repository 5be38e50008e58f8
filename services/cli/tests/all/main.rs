//! The program itself, against a real nats-server: what it prints, and how it ends.

mod away;
mod governed;
mod incidents;
mod letters;
mod people;
mod policies;
mod switches;
mod versions;
mod world;
