"""The checks behind the exercises, one module for each chapter: ``ch_2_3`` belongs to chapter 2.3."""
