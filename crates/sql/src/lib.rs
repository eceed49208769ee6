//! Statements that DataFusion's front end does not have: streaming tables, flows, variables; errors with line and column.
