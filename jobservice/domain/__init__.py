"""Pure rules: states, transitions, outcomes, facts, names, errors. No IO, no clock, no logging, no driver."""
