busted --output=plainTerminal .
