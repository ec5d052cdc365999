"""Order, schedule, trigger: recipes, the flows over them and the command line. The only folder that imports Prefect."""
