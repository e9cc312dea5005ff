//! People: names, cities and states that records are made of. ASCII only, so that they stand in JSON as they are.
//!
//! The lists are part of what a seed means: another order or length makes other records.

/// What stands behind the name in an address. The domain is reserved for examples.
pub(super) const MAIL_HOST: &str = "@example.com";

pub(super) static STATUSES: [&str; 4] = ["pending", "active", "suspended", "closed"];

pub(super) static FIRST_NAMES: [&str; 64] = [
    "Ada", "Adam", "Aisha", "Alan", "Alice", "Amir", "Ana", "Anil", "Anna", "Arjun", "Beatriz", "Ben",
    "Carla", "Chen", "Clara", "Daniel", "David", "Deepa", "Diego", "Elena", "Emeka", "Emma", "Eva", "Fatima",
    "Felix", "Grace", "Hana", "Hiro", "Hugo", "Ines", "Ivan", "James", "Jamila", "Jonas", "Jose", "Julia",
    "Karim", "Kavya", "Laila", "Lars", "Lena", "Leo", "Linh", "Lucas", "Maria", "Mateo", "Mei", "Mia",
    "Nadia", "Noah", "Olga", "Omar", "Paula", "Pedro", "Priya", "Ravi", "Rosa", "Sara", "Sofia", "Tariq",
    "Tomas", "Uma", "Yuki", "Zoe",
];

pub(super) static LAST_NAMES: [&str; 64] = [
    "Abebe", "Adams", "Ahmed", "Ali", "Almeida", "Andersen", "Bauer", "Becker", "Bianchi", "Brown", "Carter",
    "Chang", "Costa", "Cruz", "Dubois", "Evans", "Fischer", "Garcia", "Gomez", "Gupta", "Haddad", "Hansen",
    "Harris", "Hassan", "Ito", "Ivanova", "Jansen", "Johnson", "Jones", "Kaur", "Khan", "Kim", "Kowalski",
    "Kumar", "Larsen", "Lee", "Lopez", "Martin", "Mehta", "Meyer", "Miller", "Moreau", "Mwangi", "Nguyen",
    "Novak", "Okafor", "Olsen", "Park", "Patel", "Perez", "Petrov", "Reddy", "Rossi", "Santos", "Sato",
    "Schmidt", "Sharma", "Silva", "Singh", "Smith", "Tanaka", "Torres", "Walker", "Wang",
];

pub(super) static CITIES: [&str; 40] = [
    "Accra",
    "Amsterdam",
    "Athens",
    "Bangkok",
    "Berlin",
    "Bogota",
    "Cairo",
    "Chennai",
    "Chicago",
    "Copenhagen",
    "Dakar",
    "Delhi",
    "Dublin",
    "Hanoi",
    "Helsinki",
    "Istanbul",
    "Jakarta",
    "Kyoto",
    "Lagos",
    "Lima",
    "Lisbon",
    "London",
    "Madrid",
    "Manila",
    "Melbourne",
    "Mexico City",
    "Milan",
    "Montreal",
    "Mumbai",
    "Nairobi",
    "Oslo",
    "Paris",
    "Prague",
    "Quito",
    "Santiago",
    "Seoul",
    "Singapore",
    "Toronto",
    "Vienna",
    "Warsaw",
];

/// Bytes of the longest of a list.
pub(super) fn longest(list: &[&str]) -> usize {
    list.iter().map(|text| text.len()).max().unwrap_or(0)
}
