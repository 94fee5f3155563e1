/* Commands of `nibble`. */
#ifndef NB_CLI_H
#define NB_CLI_H

/* Runs the command line and returns the exit code. */
int nb_cli_main(int argc, char **argv);

#endif
