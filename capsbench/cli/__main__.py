from capsbench.cli import main

main()
