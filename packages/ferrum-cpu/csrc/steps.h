/* The steps of optimizers. Arrays come by their id(): first all parameters, then all gradients,
   then the optimizer's state list by list. Each list has `count` arrays. */

int sgd_step(const uintptr_t *arrays, int64_t count, double lr, double momentum, double dampening,
             double weight_decay, int nesterov, int maximize);

/* The state is steps, exp_avgs, exp_avg_sqs, and with `amsgrad` max_exp_avg_sqs. */
int adam_step(const uintptr_t *arrays, int64_t count, double lr, double beta1, double beta2,
              double eps, double weight_decay, int amsgrad, int maximize, int decoupled);

/* The optimizers below have one function, and a row each in a table of steps.c. */
enum StepKind {
    STEP_ADADELTA,
    STEP_ADAGRAD,
    STEP_ADAMAX,
    STEP_LION,
    STEP_NADAM,
    STEP_RADAM,
    STEP_RMSPROP
};

/* The state are `lists` lists, as the op has them. beta2 is also Adadelta's rho and RMSprop's alpha,
   which is its beta1 too; `extra` is the momentum of RMSprop, NAdam's momentum_decay, Adagrad's
   lr_decay. */
int kind_step(int kind, const uintptr_t *arrays, int64_t count, int lists, double lr, double beta1,
              double beta2, double eps, double weight_decay, double extra, int centered,
              int maximize, int decoupled);
