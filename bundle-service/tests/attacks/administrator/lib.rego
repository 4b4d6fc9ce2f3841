package authbridge.lib

trusted := {"ann"} | elsewhere

# What this and other modules of the administrator add.
elsewhere contains "bob"
