print("exzo")
