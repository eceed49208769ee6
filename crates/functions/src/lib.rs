//! Spark-named functions and casts for DataFusion.
