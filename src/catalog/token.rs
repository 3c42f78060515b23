//! A tokenizer for SQL texts that databases print and users write in plans.
